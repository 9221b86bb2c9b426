"""What gamma does to an outcome at matched curvature: the controlled direct effect.

Each seed has cross-entropy at several strengths of a penalty, and so a curve of the outcome over
the logarithm of curvature (linear between its points; level beyond them). At the curvature of the
seed's own focal run the curve says what flattening alone, by the penalty, gives. So

    total effect  =  focal - plain                 =  by flattening  +  direct
    by flattening =  curve(focal's curvature) - plain
    direct        =  focal - curve(focal's curvature)

and the estimate is the share of the total effect that flattening gives. Above one half speaks for
*because*, below against it: paired t of ``by flattening - total / 2``, interval by Fieller. Without
a significant total effect in the claimed direction there is nothing to explain; where gamma raises
the curvature, nothing is by lowering it; where it does not lower it, nothing supports the claim.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    Data,
    Evidence,
    NotTestedError,
    Part,
    Premise,
    mean_over_seeds,
    share,
)
from focal_curvature.analysis.questions import (
    SHARE,
    Kind,
    Question,
    known,
    logarithms,
    strengths,
    wide,
)

__all__ = ["matched_curvature"]

KEYS = {
    "regulariser": {"$ref": "#/$defs/regulariser"},
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "outcomes_beside": {"$ref": "#/$defs/outcomes"},
    "gammas": {"$ref": "#/$defs/gammas"},
    "gammas_beside": {"$ref": "#/$defs/gammas"},
}
OPTIONAL = ["outcomes_beside", "gammas_beside", "hessian_of"]


def matched_curvature() -> Kind:
    """Return the kind."""
    statistic = "share of the effect that a penalty gives at focal loss's curvature"
    return Kind(statistic, SHARE, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out the curve's points and the focal run of each seed, which is the last."""
    x, y = question.curvature, str(question.outcome)
    rows = known(runs, [x, y])
    strength = strengths(rows, question.claim["regulariser"], question.gamma)
    there = set(strength[~np.isnan(strength)])
    if np.inf not in there or len(there) < 4:
        lacking = "two strengths of a penalty" if np.inf in there else f"gamma {question.gamma:g}"
        raise NotTestedError(f"no usable runs of {lacking}")
    arrays, levels, note = wide(rows, [x, y], strength, question.rules["minimum_seeds"])
    if len(levels) < 4 or levels[0] != 0 or levels[-1] != np.inf:
        raise NotTestedError(
            "too few seeds have gamma, cross-entropy and two strengths of a penalty"
        )
    (curvature,), changed = logarithms(arrays[x])
    columns = {"curvature": curvature, "outcome": arrays[y]}
    return Data(columns, arrays[x].size, levels, "; ".join(filter(None, [note, changed])))


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Split the effect of gamma at each seed's curvature, and test the share of flattening."""
    x, y = data.arrays["curvature"], data.arrays["outcome"]
    curve = _on_the_curve(x[:, -1], x[:, :-1], y[:, :-1])
    flattening, total = curve - y[:, 0], y[:, -1] - y[:, 0]
    below = float((x[:, -1] < x[:, :-1].min(axis=1)).mean())
    effect = mean_over_seeds(total)
    premise = Premise.of(x[:, -1] - x[:, 0], question.gamma, question.measure_name)
    barrier = ""
    if not effect.high < 0:
        barrier = f"gamma {question.gamma:g} does not lower the outcome significantly"
    elif below > 0.2:
        barrier = "the penalty does not reach focal loss's curvature"
    parts = [] if barrier else [premise.part]
    ratio, error = share(flattening, total)
    if not barrier and not premise.refuted:
        parts.insert(0, Part("share above one half", ratio.estimate - 0.5, error))
    if ratio.estimate > 0.5:
        barrier = barrier or premise.open
    direct = mean_over_seeds(y[:, -1] - curve)
    unit = question.outcome_unit
    ends = [unit.shown(value) for value in (direct.estimate, direct.low, direct.high)]
    remark = "direct effect {} [{}, {}] {}".format(*map(unit.form.format, ends), unit.name)
    return Evidence(
        *(ratio.estimate, ratio.low, ratio.high, ratio.p, ratio.null),
        parts=tuple(parts),
        excluded=False,
        negligible=False,
        barrier=barrier,
        refuted=premise.refuted,
        remark=remark,
    )


def _on_the_curve(at: np.ndarray, where: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate each row's points linearly, level beyond them."""
    rows = np.arange(len(at))
    order = where.argsort(axis=1, kind="stable")
    where, values = where[rows[:, None], order], values[rows[:, None], order]
    right = (where <= at[:, None]).sum(axis=1).clip(1, where.shape[1] - 1)
    x0, x1, y0, y1 = (a[rows, i] for a in (where, values) for i in (right - 1, right))
    passed = np.divide(at - x0, x1 - x0, out=(at >= x0).astype(float), where=x1 > x0).clip(0, 1)
    return np.where(passed < 1, y0 + passed * (y1 - y0), y1)
