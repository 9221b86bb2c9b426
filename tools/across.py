"""Prepare and draw the figures over all committed experiments, in paper/figures/.

PYTHONPATH=src python tools/across.py
"""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import pandas as pd
import yaml

from focal_curvature import plotting
from focal_curvature.plotting.across import FIGURES

ROOT = Path(__file__).resolve().parents[1]


def tables(root: Path) -> dict[str, object]:
    """Read what the figures are prepared from."""
    files = sorted(root.glob("paper_figures/*/claims.json"))  # of those that compare losses
    runs = {file.parent.name: pd.read_csv(file.with_name("runs.csv")) for file in files}
    rules = yaml.safe_load((root / "workflow/claims.yaml").read_text(encoding="utf-8"))
    pooled = pd.read_csv(root / "docs/pooled.csv")
    return {"runs": runs, "rules": rules, "pooled": pooled}


def make(root: Path = ROOT) -> None:
    """Write each figure's table as CSV, and the figure as drawn from that file."""
    committed = tables(root)
    folder = root / "paper/figures"
    folder.mkdir(exist_ok=True)
    for name in FIGURES:
        figure = f"across.{name}"
        data = folder / f"{name}.csv"
        plotting.load(figure).prepare(committed).to_csv(data, index=False)
        plotting.draw(figure, data, [data.with_suffix(".pdf"), data.with_suffix(".png")])


if __name__ == "__main__":
    make()
