"""A best level between two ends: of gamma, or of the strength of a penalty.

At an interior level the outcome is lower than at either end: an intersection-union test, each
difference paired by seed. Which level is best is taken from the same data, so that p is of the
largest over interior levels of the smaller of both t's, under the null distribution of the largest
t against one end (multivariate t with the contrasts' correlation, a parametric bootstrap of the
max-T). That is the least favourable null: all interior levels are as good as the better end, and
the other end is far worse. With one end better than the other, the comparisons with it are the
smaller ones at every level, so p is the larger of the two ends' p.

The estimate is the smaller of both differences at the level chosen; its lower limit allows for the
choice, the upper one is that of the largest interior level. The meta-analysis chooses each seed's
level on all other seeds, so that the choice does not favour the claim.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    ROUNDING,
    Data,
    Evidence,
    NotTestedError,
    Part,
    UndecidedError,
    mean_over_seeds,
    quantile,
)
from focal_curvature.analysis.questions import Kind, Question, gammas, known, strengths, wide

__all__ = ["best_level"]

KEYS = {
    "regulariser": {"$ref": "#/$defs/regulariser"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "outcomes_beside": {"$ref": "#/$defs/outcomes"},
    "up_to": {"$ref": "#/$defs/up_to"},
}
OPTIONAL = ["regulariser", "outcomes_beside", "up_to"]


def best_level() -> Kind:
    """Return the kind."""
    statistic = "how far the best interior level is below the better end, same seeds"
    return Kind(statistic, None, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out the outcome over seeds and levels."""
    y, regulariser = str(question.outcome), question.claim.get("regulariser")
    rows = known(runs, [y])
    if regulariser:
        level, name = strengths(rows, regulariser), "strength"
    else:
        level, name = gammas(rows, question.claim.get("up_to", np.inf)), "gamma"
    arrays, levels, note = wide(rows, [y], level, question.rules["minimum_seeds"])
    if len(levels) < 3 or levels[0] != 0:
        raise NotTestedError(f"no usable {name} between two ends, the first of them 0")
    return Data({"y": arrays[y]}, arrays[y].size, levels, note)


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Test the best interior level against both ends."""
    y = data.arrays["y"]
    n = len(y)
    gains = np.stack([y[:, :1] - y[:, 1:-1], y[:, -1:] - y[:, 1:-1]])  # ends, seeds, levels
    means, errors = gains.mean(axis=1), gains.std(axis=1, ddof=1) / n**0.5
    if not (errors > ROUNDING * np.abs(means)).all():
        raise UndecidedError("the outcome does not vary over seeds")
    t = means / errors
    best = int(t.min(axis=0).argmax())
    end = int(t[:, best].argmin())
    draws, spread = _draws(n, question.rules["resamples"], int(generator.integers(2**31)))
    largest = np.stack([
        (((gain - mean) / error).T @ draws).max(axis=0) / spread / (n * (n - 1)) ** 0.5
        for gain, mean, error in zip(gains, means, errors, strict=True)
    ])  # fmt: skip
    p = (1 + (largest >= t[end, best]).sum(axis=1).max()) / (1 + len(spread))
    limits = np.quantile(largest, 0.975, axis=1)
    low = means[end, best] - limits[end] * errors[end, best]
    better = int(means[:, best].argmin())
    high = float((means[better] + quantile(0.975, n - 1) * errors[better]).max())
    others = (y.sum(axis=0) - y) / (n - 1)
    picks = 1 + others[:, 1:-1].argmin(axis=1)
    honest = y[np.arange(n), picks]
    scale = max(abs(y[:, 0].mean()), question.smallest)
    parts = []
    for name, level in (("better than the first level", 0), ("better than the last level", -1)):
        difference = mean_over_seeds((y[:, level] - honest) / scale)
        parts.append(Part(name, difference.estimate, difference.error))
    smaller = float(means[end, best])
    two_sided = min(1.0, 2 * p) if smaller > 0 else 1.0
    return Evidence(
        *(smaller, float(low), max(high, smaller), two_sided),
        parts=tuple(parts),
        excluded=high < question.smallest,
        negligible=False,
        remark=f"best of the levels between: {data.levels[1 + best]:g}",
    )


@lru_cache(maxsize=8)
def _draws(seeds: int, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return normal numbers (seeds, resamples) and spreads; kept, as all tests use the same."""
    generator = np.random.default_rng(seed)
    spread = np.sqrt(generator.chisquare(seeds - 1, resamples) / (seeds - 1))
    return np.ascontiguousarray(generator.standard_normal((resamples, seeds)).T), spread
