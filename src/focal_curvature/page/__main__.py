"""Write the page: ``python -m focal_curvature.page OUTPUT FOLDER...``.

Each folder is a ``paper_figures/<experiment>``. Run where ``workflow/`` lies: captions are those of
the report, with the settings of the experiment's file: ``config.yaml``, or one in ``config/``.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from focal_curvature import config, page
from focal_curvature.files import write_atomically
from focal_curvature.page import captions

logger = logging.getLogger(__name__)


@cache
def settings(experiment: str) -> dict[str, Any] | None:
    """Return an experiment's configuration with all defaults, or None if there is none."""
    schema = yaml.safe_load(Path("workflow/schemas/config.schema.yaml").read_text())
    for file in [Path("config.yaml"), *sorted(Path("config").glob("*.yaml"))]:
        written = yaml.safe_load(file.read_text())
        if written.get("experiment") == experiment:
            try:
                return config.load(written, schema)
            except config.ConfigError as error:
                raise ValueError(f"{file}: {error}") from error
    logger.warning("%s: no configuration names it, its figures go without captions", experiment)
    return None


def caption(experiment: str, figure: str) -> str:
    """Return a figure's caption in HTML, empty if there is none."""
    found = settings(experiment)
    template = Path("workflow/report/figure.rst").read_text()
    return captions.render(template, figure, found) if found else ""


def main() -> None:
    """Write the page, or say in one line why not."""
    if len(sys.argv) < 3:
        sys.exit("usage: python -m focal_curvature.page OUTPUT FOLDER...")
    output, *folders = map(Path, sys.argv[1:])
    try:
        text = page.render([page.read(folder, caption) for folder in folders])
        with write_atomically(output) as stream:
            stream.write(text.encode())
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(output)


main()
