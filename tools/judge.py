"""Judge committed experiments by the rules as they are now, from their committed tables.

    python tools/judge.py [experiment ...]

Without names: all that have verdicts. Writes ``claims.json``, ``tables/claims.*`` and the table
behind the figure of verdicts; `make figures` draws it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import yaml
from prepare import committed

from focal_curvature import plotting, tables
from focal_curvature.products import products
from focal_curvature.tables import claims

ROOT = Path(__file__).resolve().parents[1]


def judge(folder: Path) -> None:
    """Judge the experiment of a folder of ``paper_figures/``."""
    rules = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text(encoding="utf-8"))
    settings = {"rules": rules, "experiment": folder.name}
    (product,) = (product for product in products("tables") if product.name == "claims")
    verdicts = claims.prepare(committed(folder), **settings)
    outputs = [folder / f"tables/claims.{suffix}" for suffix in product.formats]
    tables.write(product.path, verdicts, [*outputs, folder / "claims.json"], settings)
    data = plotting.load("verdicts").prepare({"claims": verdicts})
    data.to_csv(folder / "data/verdicts.csv", index=False)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(
        p.parent.name for p in ROOT.glob("paper_figures/*/claims.json")
    ):
        judge(ROOT / "paper_figures" / name)
