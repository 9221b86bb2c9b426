"""Evidence on a claim, and what decides: the same for every kind of test.

``workflow/claims.yaml`` states the rules; ``docs/rules.md`` their size and power.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

SUPPORTED, CONTRADICTED, NEGLIGIBLE = "supported", "contradicted", "negligible"
MIXED, INCONCLUSIVE, NOT_TESTED = "mixed", "inconclusive", "not tested"
DESCRIBED = "described"

# Relative to the numbers themselves: a spread below it is of rounding, and says nothing.
ROUNDING = 1e-12

# With its symbol, so that no verdict is told by colour alone.
VERDICTS = {
    **{SUPPORTED: "✓", CONTRADICTED: "✗", NEGLIGIBLE: "≈", MIXED: "±"},
    **{INCONCLUSIVE: "?", NOT_TESTED: "–", DESCRIBED: "·"},
}


class NotTestedError(Exception):
    """The runs lack what a claim asks for; the message says what."""


class UndecidedError(Exception):
    """The runs are there, but nothing can be estimated from them; the message says why."""


@dataclass(frozen=True)
class Unit:
    """How numbers of a kind are shown.

    Attributes
    ----------
    name : str
        The unit, as tables have it.
    form : str
        Format of one number.
    null : float
        The shown number that means no effect.
    factor : float
        From the numbers of the analysis to those shown.
    logarithmic : bool
        Whether the analysis has logarithms of what is shown.
    """

    name: str
    form: str
    null: float = 0.0
    factor: float = 1.0
    logarithmic: bool = False

    def shown(self, value: float) -> float:
        """Convert a number of the analysis."""
        return float(np.exp(value)) if self.logarithmic else self.factor * value


@dataclass(frozen=True)
class Data:
    """What a test needs of one model's runs.

    Attributes
    ----------
    arrays : dict of str to ndarray
        First axis: seeds, in one order throughout, so that a bootstrap draws whole seeds.
    runs : int
        Number of runs.
    levels : tuple
        Of what the second axis of two-dimensional arrays is, where a test needs to know.
    note : str
        What a reader must know of how the arrays were made; empty if nothing.
    of_seeds : int
        Number of seeds where the first axis is not one of seeds, and so is not resampled; else 0.
    """

    arrays: dict[str, np.ndarray]
    runs: int
    levels: tuple = ()
    note: str = ""
    of_seeds: int = 0

    @property
    def resampled(self) -> bool:
        """Whether the first axis is one of seeds."""
        return not self.of_seeds

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return self.of_seeds or len(next(iter(self.arrays.values())))

    def take(self, seeds: np.ndarray) -> Data:
        """Return the data of some seeds, by their positions; one may be there several times."""
        arrays = {name: array[seeds] for name, array in self.arrays.items()}
        return Data(arrays, self.runs, self.levels, self.note)


@dataclass(frozen=True)
class Part:
    """One condition that a claim asks for, as a number that is positive where it holds.

    A meta-analysis pools it over networks and data sets, so it is free of their scale.
    """

    name: str
    estimate: float
    error: float


@dataclass(frozen=True)
class Evidence:
    """What a test says.

    Attributes
    ----------
    estimate, low, high : float
        The effect and its 95% interval, on the scale of the analysis.
    p : float
        Two-sided; or, where a claim asks for several conditions, the largest of theirs.
    null : float
        The effect that there is without one.
    parts : tuple of Part
        For the meta-analysis.
    excluded, negligible : bool, optional
        Whether an effect as claimed of the smallest size of interest is excluded; whether the
        effect is smaller than that in either direction. From the interval, unless given.
    barrier : str
        Why even a significant effect would not speak for the claim; empty if it would.
    refuted : str
        Why the claim fails whatever the effect is; empty if it does not.
    remark : str
        Further words for the reason.
    """

    estimate: float
    low: float
    high: float
    p: float
    null: float = 0.0
    parts: tuple[Part, ...] = ()
    excluded: bool | None = None
    negligible: bool | None = None
    barrier: str = ""
    refuted: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Mean:
    """Mean over seeds with its standard error, 95% interval, and two-sided p-value."""

    estimate: float
    error: float
    low: float
    high: float
    p: float


def mean_over_seeds(values: np.ndarray, least_error: float = 0.0) -> Mean:
    """Test by Student's t whether the mean of independent values is zero.

    Parameters
    ----------
    values : ndarray, shape (seeds,)
    least_error : float
        A lower limit of the standard error, for values on a grid, which may all be equal.
    """
    n = len(values)
    estimate = float(values.sum()) / n  # of so few, `mean` takes four times as long
    if n < 2:
        return Mean(estimate, np.nan, np.nan, np.nan, np.nan)
    centred = values - estimate
    error = max(float((centred @ centred / (n - 1) / n) ** 0.5), least_error)
    if error <= ROUNDING * abs(estimate):
        return Mean(estimate, 0.0, estimate, estimate, np.nan)
    half = quantile(0.975, n - 1) * error
    p = 2 * float(special.stdtr(n - 1, -abs(estimate) / error))
    return Mean(estimate, error, estimate - half, estimate + half, p)


@lru_cache
def quantile(level: float, freedom: int) -> float:
    """Return a quantile of Student's t."""
    return float(special.stdtrit(freedom, level))


def share(part: np.ndarray, total: np.ndarray, null: float = 0.5) -> tuple[Evidence, float]:
    """Estimate what share of a total effect a part of it is, by Fieller's theorem.

    Parameters
    ----------
    part, total : ndarray, shape (seeds,)
        Both effects, a value (or a jackknife's pseudo-value) per seed.
    null : float
        The share that is tested against: the paired t of ``part - null * total``. The 95% interval
        holds the shares that the same test does not reject.

    Returns
    -------
    Evidence
        Infinite limits where the total effect is not significant.
    float
        Standard error of the share, by the delta method.
    """
    n = len(part)
    a, b = float(part.sum()) / n, float(total.sum()) / n
    if n < 2 or b == 0:
        raise UndecidedError("the total effect cannot be told from none")
    one, other = part - a, total - b
    va, vab, vb = (
        float(u @ v) / (n - 1) / n for u, v in ((one, one), (one, other), (other, other))
    )
    ratio, t2 = a / b, quantile(0.975, n - 1) ** 2
    error = float(np.sqrt(max(va - 2 * ratio * vab + ratio**2 * vb, 0.0))) / abs(b)
    if error <= ROUNDING * abs(ratio):
        error = 0.0
    lead, middle, constant = b * b - t2 * vb, a * b - t2 * vab, a * a - t2 * va
    root = middle * middle - lead * constant
    low, high = -np.inf, np.inf
    if lead > 0 and root >= 0:
        low, high = ((middle + sign * root**0.5) / lead for sign in (-1, 1))
    contrast = mean_over_seeds(part - null * total)
    return Evidence(ratio, float(low), float(high), contrast.p, null=null), error


FALL = "gamma lowers the measure"


@dataclass(frozen=True)
class Premise:
    """Whether gamma lowers a measure at all, which what is said to be *because* of that supposes.

    Attributes
    ----------
    part : Part
        The fall of the measure's logarithm.
    refuted : str
        That it rises for certain; empty if it does not.
    open : str
        That neither is certain; empty if one is.
    """

    part: Part
    refuted: str
    open: str

    @classmethod
    def of(cls, rise: np.ndarray, gamma: float, measure: str) -> Premise:
        """Test by Student's t the rise of a measure's logarithm, shape (seeds,), at a gamma."""
        mean = mean_over_seeds(rise)
        part = Part(FALL, -mean.estimate, mean.error)
        factor = f"the {measure} (×{np.exp(mean.estimate):.2f})"
        if mean.low > 0:
            return cls(part, f"gamma {gamma:g} raises {factor}, so nothing is by lowering it", "")
        moved = f"gamma {gamma:g} does not lower {factor} significantly"
        return cls(part, "", "" if mean.high < 0 else moved)


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm's adjusted p-values, shape (n,); NaN stays NaN and does not count."""
    p = np.asarray(p, float)
    adjusted, known = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = known[p[known].argsort(kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


SIGNIFICANT = "significant in the claimed direction"
WIDE = "not significant, and the interval is too wide to exclude an effect"


def decide(
    evidence: Evidence, direction: int, smallest: float, p: float, alpha: float
) -> tuple[str, str]:
    """Return the verdict on a claim and what in the evidence gives it.

    Parameters
    ----------
    evidence : Evidence
    direction : int
        1 if the claim is that the effect is above its null, -1 if below.
    smallest : float
        The smallest effect of interest, as a distance from the null.
    p : float
        The p-value after correction for all tests of the family.
    alpha : float
        Level.
    """
    if evidence.barrier:
        return INCONCLUSIVE, evidence.barrier
    if evidence.refuted:
        return CONTRADICTED, evidence.refuted
    if np.isnan(evidence.estimate) or np.isnan(p):
        return INCONCLUSIVE, "nothing varies over seeds"
    ends = [direction * (end - evidence.null) for end in (evidence.low, evidence.high)]
    low, high = min(ends), max(ends)
    excluded = high < smallest if evidence.excluded is None else evidence.excluded
    within = -smallest < low and high < smallest
    negligible = within if evidence.negligible is None else evidence.negligible
    if negligible:
        return NEGLIGIBLE, "the interval holds no effect of the smallest size of interest"
    if p < alpha and direction * (evidence.estimate - evidence.null) > 0:
        return SUPPORTED, SIGNIFICANT
    if p < alpha:
        return CONTRADICTED, "significant in the opposite direction"
    if excluded:
        reason = "the intervals exclude an effect as claimed of the smallest size of interest"
        return CONTRADICTED, reason
    return INCONCLUSIVE, WIDE


def count(n: int, what: str) -> str:
    """Write a number of things: 1 seed, 2 seeds."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def together(verdicts: Mapping[str, str], minimum: int) -> tuple[str, str]:
    """Return the verdict of all models from each model's, and its reason.

    Parameters
    ----------
    verdicts : mapping
        Model -> verdict.
    minimum : int
        Fewer models give no verdict of architectures in general.
    """
    said = set(verdicts.values())
    reason = "; ".join(f"{model} {verdict}" for model, verdict in verdicts.items())
    if said == {NOT_TESTED}:
        return NOT_TESTED, reason
    if {SUPPORTED, CONTRADICTED} <= said:
        return MIXED, reason
    if len(said) == 1 and said <= {SUPPORTED, CONTRADICTED, NEGLIGIBLE, DESCRIBED}:
        (verdict,) = said
        if len(verdicts) < minimum and verdict != DESCRIBED:
            wanted = f"of {count(len(verdicts), 'model')} where {minimum} are needed"
            return INCONCLUSIVE, f"{reason}, but {wanted} to speak of architectures"
        return verdict, reason
    return INCONCLUSIVE, reason
