"""Time the scoring of one large model's logits, and the figures of a thousand runs.

    python benchmarks/scoring.py [FOLDER OF RUNS.CSV]

Writes benchmarks/results/scoring.json and .md. The thousand runs are those of an experiment
(paper_figures/digits by default), repeated as further seeds: only their number is not real.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netcal.metrics  # noqa: F401  imports are a job's start-up, not the library's work
import numpy as np
import pandas as pd
import relplot  # noqa: F401
import yaml
from machine import machine, stated
from training import RESULTS

from focal_curvature.analysis.claims import judge
from focal_curvature.calibration import score
from focal_curvature.plotting import draw, load
from focal_curvature.products import products

SAMPLES, CLASSES, RUNS = 10_000, 100, 1000
# Of all experiments.
FIGURES = [p.name for p in products("figures") if {*p.needs} <= {"runs", "reliability", "claims"}]
ROOT = Path(__file__).parents[1]
CLAIMS, EXPERIMENT = ROOT / "workflow/claims.yaml", ROOT / "paper_figures/digits"


def best(work: Callable[[], Any], rounds: int = 5) -> float:
    """Least wall time of a piece of work: other processes only ever add."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def logits() -> tuple[np.ndarray, np.ndarray]:
    """Logits of an over-confident classifier of 100 classes, right in three cases of four."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, SAMPLES)
    values = generator.normal(0, 2, (SAMPLES, CLASSES)).astype(np.float32)
    values[np.arange(SAMPLES), labels] += generator.normal(8, 4, SAMPLES)
    return values, labels


def repeated(table: pd.DataFrame, copies: int) -> pd.DataFrame:
    """Repeat a table of runs as further seeds."""
    step = table["seed"].max() + 1
    return pd.concat(
        [table.assign(seed=table["seed"] + i * step) for i in range(copies)], ignore_index=True
    )


def thousand(results: Path) -> dict[str, pd.DataFrame]:
    """Tables of an experiment that has as many runs, with the verdicts on them."""
    found = {name: pd.read_csv(results / f"{name}.csv") for name in ("runs", "reliability")}
    copies = -(-RUNS // len(found["runs"]))
    tables = {name: repeated(table, copies) for name, table in found.items()}
    rules = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
    return tables | {"claims": judge(tables["runs"], rules, results.name)}


def figures(results: Path) -> dict[str, float]:
    """Seconds to prepare and draw each figure of a thousand runs."""
    tables, seconds = thousand(results), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for figure in FIGURES:

            def work(figure: str = figure) -> None:
                data = folder / f"{figure}.csv"
                load(figure).prepare(tables).to_csv(data, index=False)
                draw(figure, data, [folder / f"{figure}.pdf", folder / f"{figure}.png"])

            seconds[figure] = best(work, rounds=2)
    return seconds


def main() -> None:
    """Measure, and write the JSON file and the Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path, nargs="?", default=EXPERIMENT)
    results = parser.parse_args().results
    values, labels = logits()
    found: dict[str, Any] = {"machine": machine(), "seconds": {}}
    for name, gamma in (("", None), (", with Psi undone", 2.0)):
        found["seconds"][f"all scores of 10,000 x 100 logits{name}"] = best(
            lambda gamma=gamma: score(values, labels, values[:5000], labels[:5000], gamma=gamma)
        )
    drawn = figures(results)
    found["seconds"] |= {f"figure {name}, {RUNS:,} runs": s for name, s in drawn.items()}
    found["seconds"]["all figures"] = sum(drawn.values())
    rows = [f"| {name} | {value:.2f} |" for name, value in found["seconds"].items()]
    (RESULTS / "scoring.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([stated(found["machine"]), "", "| what | seconds |", "|---|---|", *rows])
    (RESULTS / "scoring.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
