"""What others found, held against the runs of several experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from focal_curvature.analysis.arms import FEWEST_SEEDS, FOCAL, PLAIN, Arm, Networks, networks
from focal_curvature.analysis.evidence import Mean, mean_over_seeds
from focal_curvature.analysis.ranks import correlation

FEWEST_ARMS = 5
Row = tuple[str, str]  # what the runs say, and in a word


def paired(runs: pd.DataFrame, column: str, arm: Arm, base: Arm, base_column: str) -> Mean | None:
    """Return the mean difference of an arm to another, by seed; None where there is none."""
    values = (arm.of(runs)[column] - base.of(runs)[base_column]).dropna()
    return mean_over_seeds(values.to_numpy()) if len(values) >= FEWEST_SEEDS else None


@dataclass
class Count:
    """How many networks are lower, higher and neither."""

    lower: int = 0
    higher: int = 0
    means: list[float] = field(default_factory=list)

    @property
    def networks(self) -> int:
        """How many there are."""
        return len(self.means)

    def add(self, mean: Mean | None) -> None:
        """Count one more."""
        if mean is not None and not np.isnan(mean.error):
            self.lower += mean.high < 0
            self.higher += mean.low > 0
            self.means.append(mean.estimate)

    def words(self, scale: float, unit: str) -> str:
        """Say it."""
        if not self.means:
            return "in no network"
        ends = (scale * end for end in (min(self.means), max(self.means)))
        low, high = (f"{end:+.0f}" if abs(end) >= 10 else f"{end:+.2g}" for end in ends)
        return (
            f"lower in {self.lower}, higher in {self.higher} of {self.networks} networks "
            f"({low} to {high}{unit})"
        )


def counted(
    every: Networks, column: str, arms: Iterable[tuple[Arm, Arm]], base_column: str = ""
) -> Count:
    """Count the signs of paired differences over networks, and over pairs of arms."""
    count = Count()
    for arm, base in arms:
        for runs in every.values():
            count.add(paired(runs, column, arm, base, base_column or column))
    return count


def said(as_found: int, otherwise: int, all_of_them: int) -> str:
    """Return in a word whether the networks are as was found."""
    if not all_of_them:
        return "not tested"
    if 2 * as_found > all_of_them:
        return "agrees"
    return "contradicts" if 2 * otherwise > all_of_them else "divided"


def correlations(every: Networks) -> tuple[str, int, int]:
    """Correlate the trace of cross-entropy's Hessian with ECE over each network's objectives.

    Returns
    -------
    str, int, int
        What there is, and in how many networks Spearman's correlation is positive and is not.
    """
    found = []
    for runs in every.values():
        done = runs[runs["status"] == "completed"]
        means = done.groupby("objective")[["trace_cross_entropy", "ece"]].mean().dropna()
        if len(means) >= FEWEST_ARMS:
            found.append(float(correlation(*means.to_numpy().T, axis=0)))
    if not found:
        return "no network has enough objectives", 0, 0
    positive = sum(r > 0 for r in found)
    words = (
        "over a network's objectives, ρ of cross-entropy's trace and ECE is positive in "
        f"{positive} of {len(found)} networks ({min(found):+.2f} to {max(found):+.2f})"
    )
    return words, positive, len(found) - positive


def follows_curvature(every: Networks) -> Row:
    """Tell whether sharper networks are worse calibrated."""
    words, positive, other = correlations(every)
    return words, said(positive, other, positive + other)


def sharper_is_better(every: Networks) -> Row:
    """Tell whether sharper networks are better calibrated."""
    words, positive, other = correlations(every)
    return words, said(other, positive, positive + other)


def below_the_gap(every: Networks) -> Row:
    """Tell whether ECE is at most the generalisation gap."""
    shares = []
    for arm in (PLAIN, FOCAL):
        rows = pd.concat([arm.of(runs) for runs in every.values()])
        rows = rows.dropna(subset=["ece", "generalisation_gap_accuracy"])
        if rows.empty:
            return "no run has both", said(0, 0, 0)
        shares.append(float((rows["ece"] <= rows["generalisation_gap_accuracy"]).mean()))
    plain, focal = shares
    words = (
        f"ECE is at most the generalisation gap of accuracy in {plain:.0%} of the runs with "
        f"cross-entropy, in {focal:.0%} of those with γ = 3"
    )
    return words, said(plain > 0.5, plain < 0.5, 1)


def proper_map(every: Networks) -> Row:
    """Tell what is left of focal loss's effect after the map that makes it proper."""
    every = {name: runs for name, runs in every.items() if runs["ece_psi"].notna().any()}
    effect = counted(every, "ece", [(FOCAL, PLAIN)])
    left = counted(every, "ece_psi", [(FOCAL, PLAIN)], "ece")
    words = (
        f"ECE of γ = 3 beside cross-entropy's: {effect.words(100, ' points')}; with the map Ψ that "
        f"restores the posterior: {left.words(100, ' points')}"
    )
    return words, said(left.networks - left.lower, left.lower, left.networks)


def two_parts(every: Networks) -> Row:
    """Tell which part of the negative log-likelihood focal loss changes."""
    refinement = counted(every, "nll_refinement", [(FOCAL, PLAIN)])
    calibration = counted(every, "nll_calibration", [(FOCAL, PLAIN)])
    words = (
        f"γ = 3 beside cross-entropy: refinement {refinement.words(1, ' nats')}; calibration "
        f"{calibration.words(1, ' nats')}"
    )
    return words, said(refinement.higher, refinement.lower, refinement.networks)


def sharpness_aware(every: Networks) -> Row:
    """Tell what sharpness-aware minimisation does to ECE and to curvature."""
    sam = Arm(regulariser="sam", strength=0.05)
    ece = counted(every, "ece", [(sam, PLAIN)])
    trace = counted(every, "trace_cross_entropy", [(sam, PLAIN)])
    words = f"SAM of radius 0.05: ECE {ece.words(100, ' points')}; trace {trace.words(1, '')}"
    return words, said(ece.lower, ece.higher, ece.networks)


def two_penalties(every: Networks) -> Row:
    """Hold a penalty on the Hessian's trace beside one as strong on Gauss-Newton's."""
    strengths = sorted({
        float(strength)
        for runs in every.values()
        for strength in runs.loc[runs["regulariser"] == "hessian_trace", "strength"].unique()
    })  # fmt: skip
    arms = [
        (
            Arm(regulariser="hessian_trace", strength=strength),
            Arm(regulariser="gauss_newton_trace", strength=strength),
        )
        for strength in strengths
    ]
    total = counted(every, "ece", arms)
    words = (
        "ECE with a penalty on the Hessian's trace beside one as strong on the Gauss-Newton trace, "
        f"networks times strengths: {total.words(100, ' points')}"
    )
    return words, said(total.higher, total.lower, total.networks)


def after_scaling(every: Networks) -> Row:
    """Tell whether what is regularised is as good after temperature scaling."""
    scaled = counted(every, "ece_scaled", [(Arm(gamma=5), PLAIN)])
    words = (
        f"γ = 5 beside cross-entropy, after temperature scaling: ECE {scaled.words(100, ' points')}"
    )
    return words, said(scaled.higher, scaled.lower, scaled.networks)


FINDINGS: dict[tuple[str, str, str], Callable[[Networks], Row]] = {
    (
        "Too sharp, too sure",
        "2604.20614",
        "calibration error follows curvature, as both follow the margins",
    ): follows_curvature,
    (
        "Mason-Williams et al. 2025",
        "2510.12451",
        "sharper minima are better calibrated",
    ): sharper_is_better,
    (
        "Carrell et al. 2022",
        "2210.01964",
        "the calibration gap is at most the generalisation gap",
    ): below_the_gap,
    (
        "Komisarenko & Kull 2024",
        "2408.11598",
        "focal loss is a proper loss after a map that raises confidence, which would be all of its "
        "gain",
    ): proper_map,
    (
        "Berta et al. 2025",
        "2501.19195",
        "what calibrates need not refine: refine first, then calibrate",
    ): two_parts,
    (
        "Tan et al. 2025",
        "2505.23866",
        "sharpness-aware minimisation calibrates",
    ): sharpness_aware,
    (
        "Dauphin et al. 2024",
        "2401.10809",
        "penalties on the Hessian do worse than those on the Gauss-Newton matrix",
    ): two_penalties,
    (
        "Wang et al. 2021",
        "",
        "what is regularised is worse after temperature scaling",
    ): after_scaling,
}


def examine(experiments: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return ``who``, ``arxiv`` (empty if it is not there), ``finding``, ``verdict`` and ``words``.

    Parameters
    ----------
    experiments : mapping
        Experiment -> its ``runs.csv``. Columns that older ones lack are done without.
    """
    every = networks(experiments)
    rows = []
    for (who, arxiv, finding), found in FINDINGS.items():
        words, verdict = found(every)
        rows.append((who, arxiv, finding, verdict, words))
    return pd.DataFrame(rows, columns=["who", "arxiv", "finding", "verdict", "words"])
