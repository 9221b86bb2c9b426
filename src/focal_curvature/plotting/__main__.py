"""Redraw figures from committed tables: ``python -m focal_curvature.plotting FOLDER...``.

Each folder is a ``paper_figures/<experiment>`` with ``data/<figure>.csv``; nothing else is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from focal_curvature.plotting import draw
from focal_curvature.products import products

for folder in map(Path, sys.argv[1:]):
    for figure in (product.name for product in products("figures")):
        table = folder / "data" / f"{figure}.csv"
        if table.exists():
            draw(figure, table, [folder / f"{figure}.pdf", folder / f"{figure}.png"])
            print(folder / f"{figure}.pdf")
