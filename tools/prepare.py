"""Prepare committed tables, and those behind figures, anew, from the tables by run.

    PYTHONPATH=src python tools/prepare.py [experiment ...]

Without names: of all experiments. For tables and figures that are newer than an experiment; `make
figures` draws them. What an experiment did not record keeps its table, or has none; verdicts are
`judge.py`'s.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import pandas as pd
import yaml

from focal_curvature import plotting
from focal_curvature.config import complete
from focal_curvature.products import wanted
from focal_curvature.registry import resolve
from focal_curvature.runs import RunSpec, expand, variants
from focal_curvature.stages import stages

ROOT = Path(__file__).resolve().parents[1]
GATHERED = ("runs", "reliability", "histories")


def committed(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a ``paper_figures/<experiment>`` that products are made from."""
    files = [folder / f"{name}.csv" for name in GATHERED]
    # These products are the tables that others need; others share a name with a stage's table.
    files += [folder / f"tables/{name}.csv" for name in ("claims", "controls", "predictors")]
    return {file.stem: pd.read_csv(file) for file in files if file.exists()}


def planned(experiment: str) -> tuple[set[str], list[RunSpec]]:
    """Return what a committed experiment makes by its configuration: tables, and runs."""
    for file in ROOT.glob("config/*.yaml"):
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
        if written["experiment"] == experiment:
            full = complete(written)  # unchecked: its images need not be here
            asked = (stage for name, stage in stages().items() if full[name])
            tables = {*GATHERED, *(table for stage in asked for table in stage.tables)}
            return tables, expand(full | {"models": variants(full)})
    raise ValueError(f"{experiment}: no file of config/ has this experiment")


def prepare(folder: Path) -> None:
    """Prepare what can be of a ``paper_figures/<experiment>``."""
    (_, runs), tables = planned(folder.name), committed(folder)
    for product in wanted("tables", GATHERED, runs):
        outputs = [folder / f"tables/{product.name}.{suffix}" for suffix in product.formats]
        if product.settings or not {*product.needs} <= {*tables}:
            continue
        made = resolve(product.path)(tables)
        old = pd.read_csv(outputs[0]) if outputs[0].exists() else made
        if not {*old} <= {*made} or len(made) < len(old):
            print(f"{outputs[0]}: kept as it is: it has more than its runs now say")
            continue
        resolve(product.write)(product.path, made, outputs, {})
    tables = committed(folder)
    for figure in wanted("figures", tables, runs):
        if not figure.needs:
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
