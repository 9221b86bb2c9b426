"""The command line, ``focal-curvature``."""

from __future__ import annotations

import sys

# Left to users who import the library alone.
EXTRA = "focal-curvature[workflow]"


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from focal_curvature.cli.app import app
    except ModuleNotFoundError as error:
        sys.exit(f"focal-curvature: needs {error.name}: pip install '{EXTRA}'")
    app()
