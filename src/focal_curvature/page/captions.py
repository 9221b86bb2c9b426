"""Captions of figures: those of Snakemake's report, with the settings of an experiment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import yaml
from docutils.core import publish_parts

from focal_curvature import config
from focal_curvature.sentences import sentences

logger = logging.getLogger(__name__)

_DEFAULT = Path("config.yaml")

# The text is the repository's own; nothing in it may reach for a file.
_SETTINGS = {"raw_enabled": False, "file_insertion_enabled": False, "math_output": "MathML"}


def caption(experiment: str, figure: str) -> str:
    """Return a figure's caption in HTML, empty with a warning if there is none.

    The working directory must hold ``workflow/`` and the configurations.
    """
    settings = _found(experiment)[1]
    file = Path(f"workflow/report/figures/{figure}.rst")
    try:
        text = (
            render(file.read_text(encoding="utf-8"), settings) if settings and file.exists() else ""
        )
    except jinja2.UndefinedError as error:
        logger.warning("%s: its configuration lacks what %s states: %s", experiment, figure, error)
        return ""
    if not text:
        logger.warning("%s: there is no caption for %s", experiment, figure)
    return text


def render(template: str, settings: Mapping[str, Any]) -> str:
    """Return a caption in HTML.

    Parameters
    ----------
    template : str
        reStructuredText in Jinja2, with ``snakemake.config``.
    settings : mapping
        The experiment's configuration, with all defaults.

    Raises
    ------
    jinja2.UndefinedError
        If the settings lack what the caption states.
    """
    snakemake = SimpleNamespace(config={**settings, "sentences": sentences(settings)})
    text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template)
    parts = publish_parts(
        text.render(snakemake=snakemake), writer="html5", settings_overrides=_SETTINGS
    )
    return parts["body"].strip()


def configuration(experiment: str) -> str:
    """Return what Snakemake is told to use an experiment's configuration.

    Empty for the default experiment, and where no file names the experiment.
    """
    file = _found(experiment)[0]
    return f"--configfile {file}" if file and file != _DEFAULT else ""


@cache
def _found(experiment: str) -> tuple[Path | None, dict[str, Any] | None]:
    """Return an experiment's configuration, its file and its content with all defaults, if any."""
    for file in [_DEFAULT, *sorted(Path("config").glob("*.yaml"))]:
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
        if written.get("experiment") == experiment:
            return file, config.complete(written)
    return None, None
