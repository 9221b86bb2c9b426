"""Evidence on a claim: one test of one claim, on the runs of a model.

A test gives its numbers and two possible verdicts: one if its p-value stays significant after
Holm's correction, and one if not. ``workflow/claims.yaml`` states the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from focal_curvature.analysis.ranks import association, complete_seeds
from focal_curvature.analysis.summary import interval
from focal_curvature.analysis.two_lines import TwoLines, two_lines

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested"


@dataclass(frozen=True)
class Evidence:
    """What a test found, and the verdict and its reason by whether p is significant after Holm."""

    otherwise: tuple[str, str]
    significant: tuple[str, str] | None = None
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    seeds: int = 0
    runs: int = 0


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm's adjusted p-values, shape (n,); NaN stays NaN and does not count."""
    p = np.asarray(p, float)
    adjusted, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return adjusted


def count(n: int, what: str) -> str:
    """Write a number of things: 1 seed, 2 seeds."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def _finite(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Select the completed runs that have all columns, none of them infinite."""
    known = runs.reindex(columns=[*columns]).apply(pd.to_numeric)
    return runs[(runs["status"] == "completed") & np.isfinite(known).all(axis=1)]


def _focal(
    runs: pd.DataFrame, columns: Sequence[str], rules: Mapping[str, Any], within: str | None = None
) -> tuple[pd.DataFrame, int, Evidence | None]:
    """Select focal runs; return them, the seeds of the model that has fewest, and any refusal."""
    focal = _finite(runs, [*columns, "gamma"])
    if within:
        focal = complete_seeds(focal, within)
    gammas = focal["gamma"].nunique()
    several = focal.groupby(["model", "seed"])["gamma"].transform("nunique") > 1
    # A model without a single usable run has no seeds, and its runs do not stand for it.
    models = runs["model"].unique()
    seeds = focal[several].groupby("model")["seed"].nunique().reindex(models, fill_value=0)
    fewest = int(seeds.min()) if len(seeds) else 0
    refusal = None
    if focal.empty:
        refusal = NOT_TESTED, f"no focal runs with {' and '.join(columns)}"
    elif gammas < rules["minimum_gammas"]:
        reason = f"{count(gammas, 'value')} of gamma, at least {rules['minimum_gammas']} needed"
        refusal = NOT_TESTED, reason
    elif fewest < rules["minimum_seeds"]:
        reason = f"{count(fewest, 'usable seed')}, at least {rules['minimum_seeds']} needed"
        refusal = INCONCLUSIVE, reason
    return focal, fewest, refusal and Evidence(refusal, seeds=fewest, runs=len(focal))


def _correlation(
    runs: pd.DataFrame,
    x: str,
    y: str,
    claim: Mapping[str, Any],
    rules: Mapping[str, Any],
    seed: int,
    floor: str | None = None,
) -> Evidence:
    within = claim.get("within")
    focal, seeds, refusal = _focal(runs, [x, y, *([floor] if floor else [])], rules, within)
    if refusal:
        return refusal
    found = association(focal, x, y, within, rules["resamples"], seed)
    if np.isnan(found.estimate):
        return Evidence((INCONCLUSIVE, f"{x} or {y} never varies"), seeds=seeds, runs=len(focal))
    sign = 1 if claim["direction"] == "rises" else -1
    claimed = sorted((sign * found.low, sign * found.high))
    half = (found.high - found.low) / 2
    width = f"the interval's half-width is {half:.2f}"
    otherwise = INCONCLUSIVE, f"not significant; {width}"
    if claimed[1] < claim["smallest_effect"]:
        least = claim["smallest_effect"]
        otherwise = CONTRADICTED, f"the interval excludes a claimed effect of {least:g} or more"
    significant = otherwise
    difference = _difference(focal, x, y, within) if floor else None
    if floor and abs(difference) < focal[floor].mean():
        significant = otherwise = (
            INCONCLUSIVE,
            f"ECE differs by {100 * abs(difference):.1f} points between runs of high and low "
            f"{x.partition('_')[0]}, below its noise floor of {100 * focal[floor].mean():.1f}; "
            f"{width}",
        )
    elif claimed[0] > 0:
        significant = SUPPORTED, "significant in the claimed direction"
    elif claimed[1] < 0:
        significant = CONTRADICTED, "significant in the opposite direction"
    return Evidence(otherwise, significant, *found, seeds, len(focal))


def _difference(runs: pd.DataFrame, x: str, y: str, within: str | None) -> float:
    """Return mean y where x is above its median less mean y elsewhere, averaged over strata."""
    keys = ["model", *([within] if within else [])]
    above = runs[x] > runs.groupby(keys)[x].transform("median")
    means = runs.groupby([*keys, above.rename("above")])[y].mean().unstack("above")
    return float((means[True] - means[False]).mean())


def _trend(
    runs: pd.DataFrame, claim: Mapping[str, Any], hessian: str, rules: Mapping[str, Any], seed: int
) -> Evidence:
    return _correlation(runs, "gamma", f"{claim['measure']}_{hessian}", claim, rules, seed)


def _association(
    runs: pd.DataFrame, claim: Mapping[str, Any], hessian: str, rules: Mapping[str, Any], seed: int
) -> Evidence:
    x, y = f"{claim['measure']}_{hessian}", claim["score"]
    return _correlation(runs, x, y, claim, rules, seed, _floor(y))


def _floor(score: str) -> str:
    """Return the column of a score's noise floor."""
    return score.replace("ece", "noise_floor")


def _two_lines(
    runs: pd.DataFrame, claim: Mapping[str, Any], hessian: str, rules: Mapping[str, Any], seed: int
) -> Evidence:
    x, y = f"{claim['measure']}_{hessian}", claim["score"]
    focal, seeds, refusal = _focal(runs, [x, y, _floor(y)], rules)
    if refusal:
        return refusal
    focal = focal.sort_values([x, y])  # rounding follows the order of the rows
    curvature, errors = focal[x].to_numpy(), focal[y].to_numpy()
    shapes = [two_lines(curvature, errors), two_lines(curvature, -errors)]
    if None in shapes:
        reason = f"{x} or {y} varies too little to fit two lines"
        return Evidence((INCONCLUSIVE, reason), seeds=seeds, runs=len(focal))
    valley, hill = map(_weaker_line, shapes)
    if hill.p < valley.p:
        numbers = (-hill.slope, -hill.high, -hill.low, hill.p)
        significant = CONTRADICTED, "ECE is largest at an intermediate level, significantly"
        change = hill.change
    else:
        numbers = (valley.slope, valley.low, valley.high, valley.p)
        significant = SUPPORTED, "both lines go as a U has it, significantly"
        change = valley.change
    floor = focal[_floor(y)].mean()
    width = f"its interval's half-width is {50 * (numbers[2] - numbers[1]):.1f} points"
    if change < floor:
        significant = (
            INCONCLUSIVE,
            f"ECE changes by {100 * change:.1f} points along a line, below its noise floor of "
            f"{100 * floor:.1f}; {width}",
        )
    otherwise = INCONCLUSIVE, f"a line does not go significantly as a U has it; {width}"
    return Evidence(otherwise, significant, *numbers, seeds, len(focal))


@dataclass(frozen=True)
class _Line:
    """The line that speaks less for a U: slope (positive: for), p of a U, change of y along it."""

    slope: float
    low: float
    high: float
    p: float
    change: float


def _weaker_line(found: TwoLines) -> _Line:
    slope, low, high, p = found.left
    lines = [((-slope, -high, -low, p), found.at), (found.right, 1 - found.at)]
    (slope, low, high, p), share = min(
        lines, key=lambda line: np.sign(line[0][0]) * (1 - line[0][3])
    )
    return _Line(slope, low, high, p if slope > 0 else 1.0, abs(slope) * share)


@dataclass(frozen=True)
class _Arm:
    """A strength of a penalty against plain cross-entropy, over the seeds that both have."""

    objective: str
    difference: tuple[float, float, float]
    p: float
    accuracy: tuple[float, float, float]
    measure: tuple[float, float, float]
    reference: float
    floor: float
    seeds: int


def _paired(arm: pd.DataFrame, plain: pd.DataFrame, x: str, y: str, objective: str) -> _Arm:
    both = arm.merge(plain, on="seed", suffixes=("", "_plain"))
    traces = [x, f"{x}_plain"]
    if (both[traces] > 0).all(axis=None):  # a penalty acts by a factor, seeds differ by factors
        both[traces] = np.log(both[traces])
    differences = {c: both[c] - both[f"{c}_plain"] for c in (x, y, "accuracy")}
    p = stats.ttest_1samp(differences[y], 0).pvalue if len(both) > 1 else np.nan
    return _Arm(
        objective,
        interval(differences[y]) if len(both) else (np.nan,) * 3,
        float(p),
        interval(differences["accuracy"]) if len(both) else (np.nan,) * 3,
        interval(differences[x]) if len(both) else (np.nan,) * 3,
        both[f"{y}_plain"].mean(),
        both[[_floor(y), f"{_floor(y)}_plain"]].mean(axis=None),
        len(both),
    )


def _intervention(
    runs: pd.DataFrame, claim: Mapping[str, Any], hessian: str, rules: Mapping[str, Any], seed: int
) -> Evidence:
    x, y = f"{claim['measure']}_{hessian}", claim["score"]
    known = _finite(runs, [x, y, "accuracy", _floor(y)])
    plain = known[known["objective"] == "ce"]
    treated = known[known.get("regulariser", pd.Series(index=known.index)) == claim["regulariser"]]
    if plain.empty or treated.empty:
        lacking = claim["regulariser"] if treated.empty else "plain cross-entropy"
        return Evidence((NOT_TESTED, f"no usable runs of {lacking}"))
    arms = [_paired(arm, plain, x, y, key) for key, arm in treated.groupby("objective", sort=False)]
    seeds, total = max(arm.seeds for arm in arms), len(plain) + len(treated)
    arms = [arm for arm in arms if arm.seeds >= rules["minimum_seeds"]]
    if not arms:
        reason = f"{count(seeds, 'usable seed')}, at least {rules['minimum_seeds']} needed"
        return Evidence((INCONCLUSIVE, reason), seeds=seeds, runs=total)
    least = claim["smallest_effect"]
    tested = list(zip(arms, holm([arm.p for arm in arms]), strict=True))
    counting = [
        (arm, p)
        for arm, p in tested
        if arm.accuracy[1] > -claim["accuracy_margin"] and arm.measure[2] < 0
    ]
    effective = [(arm, p) for arm, p in counting if arm.difference[0] < -max(least, arm.floor)]
    if effective:
        best, p = min(effective, key=lambda found: found[1])
    else:
        best, p = min(counting or tested, key=lambda found: found[0].difference[0])
    mean, low, high = best.difference
    width = f"the interval's half-width is {50 * (high - low):.1f} points"
    significant = None
    if not counting:
        reason = f"no strength lowered the {claim['measure']} at equal accuracy; {width}"
        otherwise = INCONCLUSIVE, reason
    elif best.reference - best.floor < least:
        otherwise = (
            INCONCLUSIVE,
            f"cross-entropy's ECE of {100 * best.reference:.1f}% leaves no room above its noise "
            f"floor of {100 * best.floor:.1f}%; {width}",
        )
    else:
        otherwise = INCONCLUSIVE, f"no significant reduction; {width}"
        if effective:
            significant = SUPPORTED, f"{best.objective} lowers ECE beyond its noise floor"
        elif mean < -least:
            floor = f"{100 * best.floor:.1f}"
            reason = f"the reduction is below the noise floor of {floor} points; {width}"
            significant = INCONCLUSIVE, reason
        narrow = [arm for arm, _ in counting if arm.difference[2] - arm.difference[1] <= 2 * least]
        if narrow and all(arm.difference[1] > -least for arm in narrow):
            reason = f"the intervals exclude a reduction of {100 * least:.1f} points"
            otherwise = CONTRADICTED, reason
    return Evidence(otherwise, significant, mean, low, high, p, best.seeds, total)


TESTS = {
    "trend": _trend,
    "association": _association,
    "two_lines": _two_lines,
    "intervention": _intervention,
}
