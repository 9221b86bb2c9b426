"""A penalty against none, same seeds: what it does to an outcome, and at what price.

A strength speaks for the claim if all of four hold, each by Student's t on differences to plain
cross-entropy of the same seed: the outcome is lower; the curvature is; accuracy is not lower by
`accuracy_margin`; refinement (the NLL after the best temperature) is not higher by the fraction
`refinement_margin`. So the p of a strength is the largest of the four, and the p of the claim
the smallest of the strengths times their number. The claim is excluded where each strength that
flattens fails for certain in one of the others, at a third of the level each. The meta-analysis
chooses each seed's strength on all other seeds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    Data,
    Evidence,
    NotTestedError,
    Part,
    UndecidedError,
    mean_over_seeds,
    quantile,
)
from focal_curvature.analysis.questions import (
    Kind,
    Question,
    known,
    logarithms,
    strengths,
    wide,
)

__all__ = ["intervention"]

KEYS = {
    "regulariser": {"$ref": "#/$defs/regulariser"},
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "outcomes_beside": {"$ref": "#/$defs/outcomes"},
    "direction": {"$ref": "#/$defs/direction"},
    "accuracy_margin": {"$ref": "#/$defs/fraction"},
    "refinement_margin": {"$ref": "#/$defs/fraction"},
}
OPTIONAL = ["outcomes_beside", "hessian_of"]

ACCURACY, REFINEMENT = "accuracy", "nll_refinement"


def intervention() -> Kind:
    """Return the kind."""
    statistic = "difference of the best strength to plain cross-entropy, same seeds"
    return Kind(statistic, None, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out what the conditions need over seeds and strengths; the first is none."""
    x, y = question.curvature, str(question.outcome)
    rows = known(runs, [x, y, ACCURACY, REFINEMENT])
    strength = strengths(rows, question.claim["regulariser"])
    if not (strength > 0).any() or not (strength == 0).any():
        lacking = "plain cross-entropy" if (strength > 0).any() else question.claim["regulariser"]
        raise NotTestedError(f"no usable runs of {lacking}")
    columns = list(dict.fromkeys([x, y, ACCURACY, REFINEMENT]))
    arrays, levels, note = wide(rows, columns, strength, question.rules["minimum_seeds"])
    if len(levels) < 2 or levels[0] != 0:
        raise NotTestedError("too few seeds have a strength and plain cross-entropy")
    (curvature,), changed = logarithms(arrays[x])
    columns = {
        "outcome": arrays[y],
        "curvature": curvature,
        "accuracy": arrays[ACCURACY],
        "refinement": np.log(arrays[REFINEMENT]),
    }
    return Data(columns, arrays[x].size, levels, "; ".join(filter(None, [note, changed])))


CONDITIONS = ("lower outcome", "accuracy", "refinement", "lower curvature")


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Test every strength on all conditions."""
    claim, y = question.claim, data.arrays["outcome"]

    def fall(name: str) -> np.ndarray:
        return data.arrays[name][:, :1] - data.arrays[name][:, 1:]

    slack = np.stack(  # conditions, seeds, strengths: positive where a condition holds
        [
            fall("outcome"),
            claim["accuracy_margin"] - fall("accuracy"),
            np.log1p(claim["refinement_margin"]) + fall("refinement"),
            fall("curvature"),
        ]
    )
    n, strengths = slack.shape[1:]
    tests = [[mean_over_seeds(slack[c, :, k]) for k in range(strengths)] for c in range(4)]
    p = np.array([[one_way(test) for test in row] for row in tests])
    if np.isnan(p).any():
        raise UndecidedError("nothing varies over seeds")
    worst = p.max(axis=0)
    gain = slack[0].mean(axis=0)
    flat = [k for k in range(strengths) if tests[3][k].low > 0]
    candidates = flat or range(strengths)
    best = min(candidates, key=lambda k: (worst[k], -gain[k]))
    strict = quantile(1 - 0.025 / 3, n - 1)
    least = question.smallest

    def fails(k: int) -> bool:
        """Whether a strength certainly fails in a condition beside the curvature."""
        limits = [tests[c][k].estimate + strict * tests[c][k].error for c in range(3)]
        return limits[0] < least or limits[1] < 0 or limits[2] < 0

    outcome = tests[0][best]
    lost = [
        name for name, test in zip(CONDITIONS[1:], tests[1:], strict=True) if test[best].low <= 0
    ]
    remark = f"strength {data.levels[1 + best]:g}"
    if lost:
        remark += f", at which {' and '.join(lost)} cannot be told to be as asked"
    return Evidence(
        *(-outcome.estimate, -outcome.high, -outcome.low),
        p=min(1.0, float(worst[best]) * strengths),
        parts=_crossfit(slack, max(abs(y[:, 0].mean()), least)),
        excluded=bool(flat) and all(fails(k) for k in flat),
        negligible=bool(flat)
        and all(-least < tests[0][k].low and tests[0][k].high < least for k in flat),
        barrier="" if flat else "no strength lowered the curvature significantly",
        remark=remark,
    )


def one_way(mean: object) -> float:
    """Return the two-sided p where the mean is positive, else 1."""
    return mean.p if not mean.estimate <= 0 else 1.0  # NaN stays NaN


def _crossfit(slack: np.ndarray, scale: float) -> tuple[Part, ...]:
    """Return the conditions with every seed's strength chosen on the other seeds."""
    n = slack.shape[1]
    others = (slack.sum(axis=1, keepdims=True) - slack) / (n - 1)
    allowed = (others[1:] > 0).all(axis=0)
    value = np.where(allowed, others[0], others[0] - 1e9)  # if none is allowed, the largest gain
    best = value.argmax(axis=1)
    honest = slack[:, np.arange(n), best]
    honest[0] /= scale
    means = [mean_over_seeds(values) for values in honest]
    return tuple(
        Part(name, mean.estimate, mean.error) for name, mean in zip(CONDITIONS, means, strict=True)
    )
