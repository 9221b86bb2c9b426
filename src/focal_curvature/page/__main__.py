"""Write the page: ``python -m focal_curvature.page OUTPUT FOLDER...``.

Each folder is a ``paper_figures/<experiment>``. Run where ``workflow/``, ``config/`` and ``docs/``
lie: captions are those of the report, with the experiment's settings.
"""

from __future__ import annotations

import sys
from pathlib import Path

from focal_curvature import page
from focal_curvature.files import write_atomically
from focal_curvature.page.captions import caption, configuration

POOLED = Path("docs/pooled.csv")


def main() -> None:
    """Write the page, or say in one line why not."""
    if len(sys.argv) < 3:
        sys.exit("usage: python -m focal_curvature.page OUTPUT FOLDER...")
    output, *folders = map(Path, sys.argv[1:])
    try:
        experiments = [page.read(folder, caption, configuration) for folder in folders]
        text = page.render(experiments, page.table(POOLED))
        with write_atomically(output) as stream:
            stream.write(text.encode())
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{output}: {len(text.encode()) / 1e6:.2f} MB")


main()
