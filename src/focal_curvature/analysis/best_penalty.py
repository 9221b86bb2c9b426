"""Focal loss beside the best strength of a penalty, by network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from focal_curvature.analysis.arms import FEWEST_SEEDS, FOCAL, PLAIN, Arm, networks
from focal_curvature.analysis.evidence import mean_over_seeds

REGULARISER, FEWEST_STRENGTHS = "gauss_newton_trace", 3
# Column -> how the difference to cross-entropy is said; curvature as a ratio.
COLUMNS = {
    "trace_cross_entropy": "trace of cross-entropy's Hessian, times",
    "ece": "ECE, points",
    "nll_refinement": "refinement, nats",
    "accuracy": "accuracy, points",
}
COLLAPSED = "collapsed"
# Of a difference: its scale, and its decimals.
SCALES = {"ece": (100, 1), "accuracy": (100, 1), "nll_refinement": (1, 3)}


def best_of(runs: pd.DataFrame) -> pd.DataFrame | None:
    """Return each seed's run at the strength that is best on the other seeds."""
    strengths = runs.loc[runs["regulariser"] == REGULARISER, "strength"].dropna().unique()
    arms = [
        Arm(regulariser=REGULARISER, strength=float(strength)).of(runs) for strength in strengths
    ]
    seeds = PLAIN.of(runs).index
    for arm in arms:
        seeds = seeds.intersection(arm.index)
    if len(strengths) < FEWEST_STRENGTHS or len(seeds) < FEWEST_SEEDS:
        return None
    criterion = "calibration_error_debiased"
    if any(arm[criterion].isna().any() for arm in arms):
        criterion = "ece"
    values = np.stack([arm.loc[seeds, criterion] for arm in arms])
    others = (values.sum(axis=1, keepdims=True) - values) / (len(seeds) - 1)
    chosen = others.argmin(axis=0)
    return pd.concat([arms[k].loc[[seed]] for seed, k in zip(seeds, chosen, strict=True)])


def change(rows: pd.DataFrame, plain: pd.DataFrame, column: str) -> str:
    """Return an arm's change from cross-entropy with its interval; empty where there is none."""
    one, other = (part[column].astype(float) for part in (rows, plain))
    if column in SCALES:
        scale, digits = SCALES[column]
        values, back, form = scale * (one - other), float, f"{{:+.{digits}f}}"
    else:
        values, back, form = np.log(one) - np.log(other), np.exp, "{:.2f}"
    values = values.dropna()
    if len(values) < FEWEST_SEEDS:
        return ""
    mean = mean_over_seeds(values.to_numpy())
    estimate, low, high = (form.format(back(end)) for end in (mean.estimate, mean.low, mean.high))
    return f"{estimate} [{low}, {high}]"


def collapsed(rows: pd.DataFrame, plain: pd.DataFrame) -> str:
    """Count the runs with less than half of cross-entropy's accuracy; empty if it is unknown."""
    if rows["accuracy"].isna().any():
        return ""
    return f"{(rows['accuracy'] < plain['accuracy'].mean() / 2).sum()} of {len(rows)}"


def examine(experiments: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return experiment, network, objective, `COLUMNS` and `COLLAPSED`, two rows per network."""
    rows = []
    for (experiment, model), runs in networks(experiments).items():
        best, focal, plain = best_of(runs), FOCAL.of(runs), PLAIN.of(runs)
        if best is None or len(focal) < FEWEST_SEEDS:
            continue
        strengths = ", ".join(f"{strength:g}" for strength in sorted(best["strength"].unique()))
        for name, arm in (("γ = 3", focal), (f"penalty {strengths}", best)):
            cells = {column: change(arm, plain, column) for column in COLUMNS}
            named = {"experiment": experiment, "network": model, "objective": name}
            rows.append(named | cells | {COLLAPSED: collapsed(arm, plain)})
    return pd.DataFrame(rows, columns=["experiment", "network", "objective", *COLUMNS, COLLAPSED])
