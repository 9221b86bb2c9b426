"""What a claim asks of one measure, Hessian and outcome, and how runs answer it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    Data,
    Evidence,
    NotTestedError,
    UndecidedError,
    Unit,
)

DECIDES, BESIDE = "decides", "beside"

RATIO = Unit("ratio", "×{:.2f}", null=1.0, logarithmic=True)
CORRELATION = Unit("ρ", "{:+.2f}")
SHARE = Unit("share", "{:.2f}", null=0.5)


@dataclass(frozen=True)
class Question:
    """A claim, for one measure, Hessian and outcome.

    Attributes
    ----------
    name : str
        Key of the claim.
    claim, rules : mapping
        The claim's keys; all rules.
    measure, hessian_of : str or None
        Of the curvature, where the claim speaks of one.
    outcome : str or None
        Column of ``runs.csv``, where the claim speaks of one.
    gamma : float or None
        The focusing parameter, where the claim speaks of one.
    role : str
        Whether it decides, or is reported beside what decides.
    """

    name: str
    claim: Mapping[str, Any]
    rules: Mapping[str, Any]
    measure: str | None = None
    hessian_of: str | None = None
    outcome: str | None = None
    gamma: float | None = None
    role: str = DECIDES

    @property
    def curvature(self) -> str:
        """Column of ``runs.csv`` that holds the curvature."""
        return f"{self.measure}_{self.hessian_of}" if self.hessian_of else str(self.measure)

    @property
    def measure_name(self) -> str:
        """The measure in words."""
        return self.rules["measures"].get(self.measure, "")

    @property
    def outcome_name(self) -> str:
        """The outcome in words."""
        return self.rules["outcomes"].get(self.outcome, {}).get("label", "")

    @property
    def direction(self) -> int:
        """1 if an effect above its null is claimed, -1 if below."""
        return 1 if self.claim.get("direction", "rises") == "rises" else -1

    @property
    def outcome_unit(self) -> Unit:
        """Unit of differences of the outcome."""
        about = self.rules["outcomes"][self.outcome]
        return Unit(about["unit"], f"{{:+.{about['digits']}f}}", factor=about["factor"])

    @property
    def smallest(self) -> float:
        """The smallest effect of interest, on the scale of the analysis."""
        least = self.claim.get("smallest_effect")
        return self.rules["outcomes"][self.outcome]["smallest_effect"] if least is None else least


@dataclass(frozen=True)
class Kind:
    """A kind of test.

    Attributes
    ----------
    statistic : str
        What the estimate is, in words.
    unit : Unit or None
        Of the estimate; None for that of the question's outcome.
    data : callable
        Takes one model's runs (rows of ``runs.csv``) and a question; raises `NotTestedError`.
    evidence : callable
        Takes data, a question and a random generator; raises `UndecidedError`.
    source : {"runs", "controls"}
        Which table ``data`` takes: of runs, or of interventions on trained networks.
    combine : callable, optional
        For a kind that rests on other claims' verdicts in place of runs: takes a mapping from the
        claim's ``of`` to their verdicts, returns a verdict and its reason.
    """

    statistic: str
    unit: Unit | None
    data: Callable[[pd.DataFrame, Question], Data] | None = None
    evidence: Callable[[Data, Question, np.random.Generator], Evidence] | None = None
    source: str = "runs"
    combine: Callable[[Mapping[str, str]], tuple[str, str]] | None = None


def questions(name: str, rules: Mapping[str, Any]) -> Iterator[Question]:
    """Yield a claim's questions: products of its lists, those that decide first."""
    claim = rules["claims"][name]
    asked = Question(name, claim, rules)
    deciding = {"outcome": claim.get("outcomes"), "gamma": claim.get("gammas")}
    # What is beside in one respect is as what decides in the other.
    beside = [
        deciding | {key: claim[f"{key}s_beside"]} for key in deciding if claim.get(f"{key}s_beside")
    ]
    for role, lists in [(DECIDES, deciding), *((BESIDE, lists) for lists in beside)]:
        grid = {
            "measure": claim.get("measures") or [None],
            "hessian_of": claim.get("hessian_of") or [None],
            **{key: values or [None] for key, values in lists.items()},
        }
        said = BESIDE if claim.get("described") else role
        for values in itertools.product(*grid.values()):
            yield replace(asked, role=said, **dict(zip(grid, values, strict=True)))


_KEYS = ("seed", "gamma", "loss", "regulariser", "strength")


def known(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Select the completed runs that have all columns, none of them infinite, and what runs are.

    Raises
    ------
    NotTestedError
        If there is none, or no such column.
    """
    absent = [column for column in columns if column not in runs]
    if absent:
        raise NotTestedError(f"the runs have no {' and no '.join(absent)}")
    completed = (runs["status"] == "completed").to_numpy()
    needed = [*_KEYS, *dict.fromkeys(columns)]
    runs = runs[[c for c in needed if c in runs]]
    selection = runs[completed & np.isfinite(runs[[*columns]].to_numpy(float)).all(axis=1)]
    if selection.empty:
        raise NotTestedError(f"no completed run has {' and '.join(columns)}")
    return selection


def gammas(runs: pd.DataFrame, up_to: float = np.inf) -> np.ndarray:
    """Return gamma of the runs of focal loss alone, 0 for cross-entropy; NaN for all others."""
    gamma = runs["gamma"].to_numpy(float)
    alone = runs["regulariser"].isna() if "regulariser" in runs else True
    return np.where(alone & (gamma <= up_to), gamma, np.nan)


def strengths(runs: pd.DataFrame, regulariser: str, gamma: float | None = None) -> np.ndarray:
    """Return the strength of a regulariser on cross-entropy.

    0 for plain cross-entropy, infinity for focal loss alone at ``gamma``, NaN for all other runs.
    """
    focal = gammas(runs)
    strength = np.where(focal == 0, 0.0, np.nan)
    if gamma is not None:
        strength[focal == gamma] = np.inf
    if "regulariser" in runs:
        cross_entropy = np.nan_to_num(runs["gamma"].to_numpy(float)) == 0
        if "loss" in runs:
            cross_entropy &= runs["loss"].isin(["cross_entropy", "focal"]).to_numpy()
        treated = (runs["regulariser"] == regulariser).to_numpy() & cross_entropy
        strength = np.where(treated, runs["strength"].to_numpy(float), strength)
    return strength


def halves_of(runs: pd.DataFrame, column: str) -> list[str]:
    """Return the columns of the measurements on two disjoint halves of the images, if there are."""
    halves = [f"{column}_half1", f"{column}_half2"]
    there = all(half in runs and runs[half].notna().any() for half in halves)
    return halves if there else []


LEAST_RELIABILITY = 0.3  # below, a correction would be most of the estimate


def reliability(r: np.ndarray) -> np.ndarray:
    """Return the whole's reliability from its halves' correlation (Spearman-Brown); 0 at least."""
    r = np.maximum(r, 0.0)
    return 2 * r / (1 + r)


def corrected(whole: float) -> str:
    """Say that an estimate is corrected for a reliability.

    Raises
    ------
    UndecidedError
        Below `LEAST_RELIABILITY`.
    """
    if whole < LEAST_RELIABILITY:
        raise UndecidedError(f"curvature's reliability within gamma is {whole:.2f}, too low")
    return f"reliability of curvature {whole:.2f}"


UNCORRECTED = "curvature's own error not corrected for"


def wide(
    runs: pd.DataFrame, columns: Sequence[str], level: np.ndarray, minimum_seeds: int
) -> tuple[dict[str, np.ndarray], tuple, str]:
    """Lay runs out: seeds x levels, of the seeds that have every level.

    A level that more than a fifth of the seeds lack is left out, so that runs which diverge at an
    extreme level do not cost all others their seeds.

    Parameters
    ----------
    runs : DataFrame
        Of one model.
    columns : sequence of str
        What to lay out.
    level : ndarray, shape (runs,)
        Of each run; NaN leaves it out.
    minimum_seeds : int
        Fewer raise `NotTestedError`.

    Returns
    -------
    dict
        Column -> ndarray (seeds, levels).
    tuple
        Levels, ascending.
    str
        What was left out, in words; empty if nothing.
    """
    runs, level = runs[~np.isnan(level)], level[~np.isnan(level)]
    seeds, row = np.unique(runs["seed"], return_inverse=True)
    values, column = np.unique(level, return_inverse=True)
    there = np.zeros((len(seeds), len(values)), int)
    np.add.at(there, (row, column), 1)
    if there.max(initial=0) > 1:
        raise NotTestedError("several runs of the same seed and level: which is meant?")
    kept = there.mean(axis=0) >= 0.8
    whole = there[:, kept].all(axis=1)
    if whole.sum() < minimum_seeds or not kept.any():
        usable = whole.sum() if kept.any() else 0
        raise NotTestedError(f"{usable} usable seeds, at least {minimum_seeds} needed")
    arrays = {}
    for name in columns:
        table = np.empty(there.shape)
        table[row, column] = runs[name].to_numpy(float)
        arrays[name] = table[np.ix_(whole, kept)]
    lost = [f"{value:g}" for value in values[~kept]]
    notes = [f"without {', '.join(lost)}, which too few seeds have"] if lost else []
    if not whole.all():
        notes.append(f"{(~whole).sum()} of {len(seeds)} seeds lack a level")
    return arrays, tuple(values[kept].tolist()), "; ".join(notes)


def logarithms(*arrays: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Return logarithms of curvatures, and what was done to make them, in words.

    What is not positive has no logarithm, and to leave it out would leave out the flattest. It
    takes the smallest positive value among all: an effect of flattening is then under-estimated.
    """
    positive = np.concatenate([array[array > 0] for array in arrays])
    bad = sum(int((array <= 0).sum()) for array in arrays)
    if not len(positive):
        raise NotTestedError("no curvature is positive")
    least = positive.min()
    note = f"{bad} values that are not positive counted as the smallest positive one" if bad else ""
    return [np.log(np.maximum(array, least)) for array in arrays], note
