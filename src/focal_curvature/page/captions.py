"""Captions of figures: those of Snakemake's report, from the settings of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import jinja2
from docutils.core import publish_parts

# The text is the repository's own; nothing in it may reach for a file.
_SETTINGS = {"raw_enabled": False, "file_insertion_enabled": False, "math_output": "MathML"}


def render(template: str, figure: str, config: Mapping[str, Any]) -> str:
    """Return a figure's caption in HTML.

    Parameters
    ----------
    template : str
        reStructuredText in Jinja2, with ``snakemake.config`` and ``snakemake.wildcards.figure``.
    figure : str
    config : mapping
        The experiment's configuration, with all defaults.

    Returns
    -------
    str
        Empty if the template has nothing to say on the figure.
    """
    snakemake = SimpleNamespace(config=config, wildcards=SimpleNamespace(figure=figure))
    text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template)
    parts = publish_parts(
        text.render(snakemake=snakemake), writer="html5", settings_overrides=_SETTINGS
    )
    return parts["body"].strip()
