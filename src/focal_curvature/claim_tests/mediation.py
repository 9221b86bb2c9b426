"""Mediation of gamma's effect on an outcome through curvature, among focal runs.

The slope of the outcome on the logarithm of curvature comes from runs of equal gamma; times what
gamma does to the curvature it is the effect through curvature. The estimate is its share of the
total effect; above one half speaks for *because*, below against it (Fieller, on the jackknife's
pseudo-values, leaving one seed out). The slope is corrected for the error of curvature by its
reliability, where halves are measured; nothing is decided where that is too low. The share through
curvature alone is the most that the data allow it, as what else moves with it at equal gamma is
counted to it. To support the claim, the share must be above one half also with the training fit,
`given`, beside it; where that is not recorded, the claim can be contradicted, not supported. Where
gamma raises the curvature, nothing is by lowering it; where it does not lower it, nothing supports
the claim.

Sensitivity: an unobserved common cause of curvature and outcome that correlates their residuals
as much as they are correlated at equal gamma would leave no effect through curvature (Imai et al.
2010, doi 10.1037/a0020761): the reason gives that correlation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    ROUNDING,
    Data,
    Evidence,
    NotTestedError,
    Part,
    Premise,
    UndecidedError,
    mean_over_seeds,
    share,
)
from focal_curvature.analysis.questions import (
    LEAST_RELIABILITY,
    SHARE,
    UNCORRECTED,
    Kind,
    Question,
    corrected,
    gammas,
    halves_of,
    known,
    logarithms,
    reliability,
    wide,
)

__all__ = ["mediation"]

KEYS = {
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "given": {"$ref": "#/$defs/given"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "outcomes_beside": {"$ref": "#/$defs/outcomes"},
    "gammas": {"$ref": "#/$defs/gammas"},
    "gammas_beside": {"$ref": "#/$defs/gammas"},
    "up_to": {"$ref": "#/$defs/up_to"},
    "described": {"const": True},
}
OPTIONAL = ["outcomes_beside", "gammas_beside", "hessian_of", "described", "given"]


def mediation() -> Kind:
    """Return the kind."""
    return Kind("share of the effect through the measure", SHARE, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out mediator, training fit and outcome over seeds and gammas."""
    x, y = question.curvature, str(question.outcome)
    halves = halves_of(runs, x)
    rivals = [c for c in question.claim.get("given", []) if c in runs and runs[c].notna().any()]
    rows = known(runs, [x, y, *halves, *rivals])
    gamma = gammas(rows, question.claim["up_to"])
    columns = list(dict.fromkeys([x, y, *rivals, *halves]))
    arrays, levels, note = wide(rows, columns, gamma, question.rules["minimum_seeds"])
    if 0 not in levels or question.gamma not in levels:
        raise NotTestedError(f"no usable runs of both gamma 0 and {question.gamma:g}")
    logs, changed = logarithms(*(arrays[column] for column in [x, *halves]))
    named = {"x": logs[0], "y": arrays[y]}
    named |= {f"half{i}": half for i, half in enumerate(logs[1:])}
    if rivals:
        named["given"] = np.stack([arrays[rival] for rival in rivals], axis=-1)
    return Data(named, arrays[x].size, levels, "; ".join(filter(None, [note, changed])))


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Estimate the shares, alone and with the training fit beside it."""
    arrays, n = data.arrays, data.seeds
    x, y = arrays["x"], arrays["y"]
    first, last = data.levels.index(0), data.levels.index(question.gamma)
    total = y[:, last] - y[:, first]
    effect = mean_over_seeds(total)
    barrier = refuted = remark = ""
    if not effect.high < 0:
        barrier = f"gamma {question.gamma:g} does not lower the outcome significantly"

    (alone, error), *given = (
        share(n * point - (n - 1) * left, total) for point, left in _indirect(arrays, first, last)
    )
    parts = [Part("share above one half", alone.estimate - 0.5, error)]
    p, supports = alone.p, alone.estimate > 0.5
    for beside, its_error in given:
        parts.append(Part("and given the training fit", beside.estimate - 0.5, its_error))
        if supports:
            p = max(p, beside.p if beside.estimate > 0.5 else 1.0)
        remark = f"given the training fit {beside.estimate:.2f}; "
    if supports and question.claim.get("given") and not given:
        barrier = barrier or "the training fit is not recorded, beside which the share must stand"
    # Rivals of curvature may carry the effect whichever way they move.
    if question.hessian_of:
        premise = Premise.of(x[:, last] - x[:, first], question.gamma, question.measure_name)
        parts = [*([] if premise.refuted else parts), premise.part]
        refuted = premise.refuted
        if supports:
            barrier = barrier or premise.open
        if not refuted:
            halved = "half0" in arrays
            remark += f"{corrected(_reliability(arrays)[0]) if halved else UNCORRECTED}; "
    a, b = (_deviations(v) for v in (x, y))
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    if norm == 0:
        raise UndecidedError("curvature or outcome never varies at a gamma")
    remark += f"none if a common cause correlates the residuals by {(a * b).sum() / norm:+.2f}"
    return Evidence(
        *(alone.estimate, alone.low, alone.high, p, alone.null),
        parts=tuple(parts) if effect.high < 0 else (),
        excluded=False,
        negligible=False,
        barrier=barrier,
        refuted=refuted,
        remark=remark,
    )


def _reliability(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return curvature's reliability at equal gamma, of all seeds and without each of them."""
    sums = _sums(*(np.stack([arrays["half0"], arrays["half1"]], axis=-1),) * 2)
    norm = np.sqrt(sums[:, 0, 0] * sums[:, 1, 1])
    return reliability(sums[:, 0, 1] / np.maximum(norm, np.finfo(float).tiny))


def _indirect(
    arrays: dict[str, np.ndarray], first: int, last: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the effect through curvature, of all seeds and without each of them.

    First of curvature alone, then with the training fit beside it where there is one.
    """
    mediators = [arrays["x"][..., None], *([arrays["given"]] if "given" in arrays else [])]
    z = np.concatenate(mediators, axis=-1)  # seeds, gammas, mediators
    n, last_is = len(z), z[:, last, 0] - z[:, first, 0]
    products, right = _sums(z, z), _sums(z, arrays["y"][..., None])
    if "half0" in arrays:
        products[:, 0, 0] *= np.clip(_reliability(arrays), LEAST_RELIABILITY, 1.0)
    moved = np.r_[last_is.mean(), (last_is.sum() - last_is) / (n - 1)]
    for count in sorted({1, z.shape[-1]}):
        slopes = np.linalg.pinv(products[:, :count, :count], rcond=ROUNDING) @ right[:, :count]
        effects = slopes[:, 0, 0] * moved
        yield float(effects[0]), effects[1:]


def _sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sums of products at equal gamma, of all seeds and without each: (1 + seeds, ...)."""
    a, b = _deviations(a), _deviations(b)
    each = np.einsum("sgi,sgj->sij", a, b)
    total = each.sum(axis=0)
    n = len(a)
    sums = np.concatenate([total[None], total - n / (n - 1) * each])
    # Of seeds that are all the same, as a draw or an omission may leave them.
    sums[np.abs(sums) < ROUNDING * np.abs(each).sum(axis=0)] = 0
    return sums


def _deviations(values: np.ndarray) -> np.ndarray:
    """Return deviations from the mean over seeds, zero where they are of rounding."""
    deviations = values - values.mean(axis=0)
    deviations[np.abs(deviations) < ROUNDING * np.abs(values)] = 0
    return deviations
