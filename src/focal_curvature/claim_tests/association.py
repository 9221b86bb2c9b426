"""Curvature against an outcome among runs of the same gamma, that is, over seeds.

The mean over gammas of Spearman's correlation over seeds. p: whole seeds of the outcome are
reassigned, the same at every gamma, which keeps what runs of a seed have in common. Curvature is
measured on a sample of images: its error makes correlations smaller. Where there are measurements
on two disjoint halves of the sample, their rank correlation r within gamma gives the reliability
of the whole, 2r / (1 + r) (Spearman-Brown), and the estimate is divided by its square root; else it
is of the curvature as measured. The interval is Student's over the jackknife's pseudo-values,
leaving one seed out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    Data,
    Evidence,
    NotTestedError,
    Part,
    UndecidedError,
    mean_over_seeds,
)
from focal_curvature.analysis.questions import (
    CORRELATION,
    LEAST_RELIABILITY,
    UNCORRECTED,
    Kind,
    Question,
    corrected,
    gammas,
    halves_of,
    known,
    reliability,
    wide,
)
from focal_curvature.analysis.ranks import leave_one_out, scores

__all__ = ["association"]

KEYS = {
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "outcomes_beside": {"$ref": "#/$defs/outcomes"},
    "up_to": {"$ref": "#/$defs/up_to"},
    "direction": {"$ref": "#/$defs/direction"},
    "smallest_effect": {"$ref": "#/$defs/fraction"},
}
OPTIONAL = ["outcomes_beside", "hessian_of"]


def association() -> Kind:
    """Return the kind."""
    statistic = "Spearman correlation with curvature at equal gamma, mean over gammas"
    return Kind(statistic, CORRELATION, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out curvature, its halves where there are any, and the outcome."""
    x, y = question.curvature, str(question.outcome)
    halves = halves_of(runs, x)
    rows = known(runs, [x, y, *halves])
    gamma = gammas(rows, question.claim["up_to"])
    arrays, levels, note = wide(rows, [x, y, *halves], gamma, question.rules["minimum_seeds"])
    if len(levels) < question.rules["minimum_levels"]:
        raise NotTestedError(f"{len(levels)} values of gamma, too few")
    named = {"x": arrays[x], "y": arrays[y]}
    named |= {f"half{i}": arrays[half] for i, half in enumerate(halves)}
    return Data(named, arrays[x].size, levels, note)


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Correlate, and correct for the error of the curvature."""
    x, y = data.arrays["x"], data.arrays["y"]
    seeds = len(x)
    a, b = scores(x, 0), scores(y, 0)
    products = a @ b.T / x.shape[1]  # [i, j]: seed i's curvature with seed j's outcome
    observed = float(np.trace(products))
    if not (a.any(axis=0) & b.any(axis=0)).all():
        raise UndecidedError("curvature or outcome never varies at a gamma")
    pairs = _pairs(seeds, question.rules["resamples"], int(generator.integers(2**31)))
    null = products.take(pairs).sum(axis=0)
    p = (1 + (np.abs(null) >= abs(observed) - 1e-9).sum()) / (1 + len(null))
    estimate, without = observed, leave_one_out(x, y).mean(axis=1)
    remark = UNCORRECTED
    if "half0" in data.arrays:
        one, other = data.arrays["half0"], data.arrays["half1"]
        whole = float(reliability((scores(one, 0) * scores(other, 0)).sum(axis=0).mean()))
        remark = corrected(whole)
        estimate = observed / whole**0.5
        each = reliability(leave_one_out(one, other).mean(axis=1))
        without = without / np.sqrt(np.maximum(each, LEAST_RELIABILITY))
    jackknife = mean_over_seeds(seeds * estimate - (seeds - 1) * without)
    low, high = (float(np.clip(end, -1, 1)) for end in (jackknife.low, jackknife.high))
    part = Part("correlation", question.direction * estimate, jackknife.error)
    limited = float(np.clip(estimate, -1, 1))
    return Evidence(limited, low, high, float(p), parts=(part,), remark=remark)


@lru_cache(maxsize=8)
def _pairs(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Return where in a matrix permutations pair seeds: (seeds, resamples), kept for all tests."""
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.tile(np.arange(seeds), (resamples, 1)), axis=1)
    return np.ascontiguousarray((orders + seeds * np.arange(seeds)).T)
