"""Time the scoring of one large model's logits, and the figures of a thousand runs.

    python benchmarks/scoring.py

Writes benchmarks/results/scoring.json and .md. The thousand runs are the committed ones of the
default experiment, repeated as further seeds: their numbers are real, their number is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import netcal.metrics  # noqa: F401  imports are timed as part of a job, not of the library
import numpy as np
import pandas as pd
import relplot  # noqa: F401
from training import RESULTS, machine

from focal_curvature.calibration import score

SAMPLES, CLASSES, RUNS = 10_000, 100, 1000


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


def thousand(table: pd.DataFrame) -> pd.DataFrame:
    """Repeat a table of runs as further seeds, up to a thousand runs."""
    copies = -(-RUNS // table["run"].nunique())
    seeds = table["seed"].max() + 1
    more = [table.assign(seed=table["seed"] + i * seeds) for i in range(copies)]
    return pd.concat(
        [t.assign(run=t["run"] + f"copy{i}") for i, t in enumerate(more)], ignore_index=True
    )


def main() -> None:
    """Measure, and write the JSON file and the Markdown table."""
    values, labels = logits()
    found: dict[str, Any] = {"machine": machine()}
    for name, gamma in (("scores", None), ("scores, with Psi undone", 2.0)):
        found[f"{name}, seconds"] = best(
            lambda gamma=gamma: score(values, labels, values[:5000], labels[:5000], gamma=gamma)
        )
    (RESULTS / "scoring.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "scoring.md").write_text(
        "".join(f"- {key}: {value}\n" for key, value in found.items())
    )


if __name__ == "__main__":
    main()
