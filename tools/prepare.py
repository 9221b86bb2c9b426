"""Prepare the tables behind committed figures anew, from the tables that are committed.

    PYTHONPATH=src python tools/prepare.py [experiment ...]

Without names: of all experiments. For figures that are newer than an experiment; `make figures`
draws them. What an experiment did not record keeps its table, or has none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from focal_curvature.provenance import PORTABLE_KERNELS

if __name__ == "__main__":
    # Before numpy is imported: what is made here is what the workflow makes, to the last bit.
    os.environ.update(PORTABLE_KERNELS)

import pandas as pd

from focal_curvature import plotting
from focal_curvature.products import products

ROOT = Path(__file__).resolve().parents[1]
GATHERED = ("runs", "reliability", "histories")


def committed(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a ``paper_figures/<experiment>`` that products are made from."""
    files = [folder / f"{name}.csv" for name in GATHERED]
    # These products are the tables that others need; others share a name with a stage's table.
    files += [folder / f"tables/{name}.csv" for name in ("claims", "controls", "predictors")]
    return {file.stem: pd.read_csv(file) for file in files if file.exists()}


def prepare(folder: Path) -> None:
    """Prepare what can be of a ``paper_figures/<experiment>``."""
    tables = committed(folder)
    for figure in products("figures"):
        if not figure.needs or not set(figure.needs) <= set(tables):
            continue
        data = folder / f"data/{figure.name}.csv"
        try:
            table = plotting.load(figure.name).prepare(tables)
        except KeyError as error:  # a column that is newer than the experiment
            print(f"{data}: kept as it is: {error}")
            continue
        if len(table):
            table.to_csv(data, index=False)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(
        file.parent.name for file in ROOT.glob("paper_figures/*/runs.csv")
    ):
        prepare(ROOT / "paper_figures" / name)
