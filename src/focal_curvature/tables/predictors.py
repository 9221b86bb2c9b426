"""What foretells calibration, for cross-entropy under an intervention on which it was not fitted.

An intervention is a variant with all its values: other numbers of epochs, other steps. For each
seed and intervention a line is fitted, of an outcome on a predictor, to that seed's runs of all
other interventions, and its error on the runs of this one is measured (Dziugaite et al. 2020, arXiv
2010.11924: what holds on average over interventions may fail under one). Beside it are the error
of nearest neighbours in a line's place, which follow a relation of any shape, and Kendall's tau
within an intervention, the plain way of training included (Jiang et al. 2020, arXiv 1912.02178,
section 5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from focal_curvature.analysis.evidence import Mean, holm, mean_over_seeds
from focal_curvature.analysis.questions import logarithms
from focal_curvature.analysis.summary import plus_minus
from focal_curvature.runs import intervention

PRODUCT = {"needs": ("runs",), "order": 80, "where": "varied"}
REFERENCE = "trace_cross_entropy"
# Label, and whether it is its logarithm that foretells: of what spans orders of magnitude.
PREDICTORS = {
    REFERENCE: ("Hessian trace", True),
    "top_eigenvalue_cross_entropy": ("Top eigenvalue", True),
    "adaptive_sharpness_cross_entropy": ("Adaptive sharpness", True),
    "train_nll": ("Training NLL", True),
    "train_accuracy": ("Training accuracy", False),
    "generalisation_gap_accuracy": ("Generalisation gap, accuracy", False),
    "generalisation_gap_nll": ("Generalisation gap, NLL", False),
    "accuracy": ("Accuracy", False),
    "logit_norm": ("Norm of the logits", True),
    "temperature": ("Fitted temperature", True),
    "none": ("None: the mean of the others", False),
}
OUTCOMES = {"confidence_gap": "Confidence gap", "ece": "ECE"}
ALL = "all"
NEIGHBOURS = 5
KEYS = ["model", "outcome", "predictor", "intervention"]
COLUMNS = [
    *KEYS,
    *("error", "error_low", "error_high", "difference", "difference_low", "difference_high"),
    *("p", "p_holm", "neighbours", "neighbours_low", "neighbours_high"),
    *("tau", "tau_low", "tau_high", "seeds"),
]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Measure how well each predictor foretells each outcome.

    Parameters
    ----------
    tables : mapping
        ``runs``, a row per run.

    Returns
    -------
    DataFrame
        Columns ``COLUMNS``: a row per architecture, outcome, predictor and intervention, and one
        for all interventions. ``error`` is the root mean square error in the outcome's unit
        (fraction), ``difference`` that of its error to the trace's of the same seed, with p by
        Student's t over seeds and Holm's correction over predictors and outcomes of all
        interventions together; ``neighbours`` is the error where the mean of the ``NEIGHBOURS``
        runs nearest in the predictor stands in the line's place; ``tau`` is rank agreement. Of all
        interventions: their mean, each counting once. Intervals are of 95% over seeds. Runs without
        a trace are left out, and so are ways of training that more than a fifth of the seeds lack,
        then seeds that lack one; predictors that some run lacks; and architectures with fewer than
        two interventions.
    """
    runs = tables["runs"]
    plain = runs[(runs["objective"] == "ce") & runs[REFERENCE].notna()].assign(none=1.0)
    plain = plain.assign(intervention=plain["variant"].map(intervention, na_action="ignore"))
    rows = []
    for model, every in plain.groupby("architecture", sort=False):
        share = every["model"].value_counts() / every["seed"].nunique()
        kept = every[every["model"].isin(share.index[share >= 0.8])]
        whole = kept.groupby("seed")["model"].transform("size") == kept["model"].nunique()
        mine = kept[whole].sort_values(["seed", "model"])
        if mine["intervention"].nunique() < 2:
            continue
        known = [name for name in PREDICTORS if name in mine and mine[name].notna().all()]
        for outcome in OUTCOMES:
            rows += _foretold(mine, outcome, known, {"model": model, "outcome": outcome})
    table = pd.DataFrame(rows, columns=COLUMNS)
    decides = (table["intervention"] == ALL).to_numpy()
    for _, members in table[decides].groupby("model"):
        table.loc[members.index, "p_holm"] = holm(members["p"].to_numpy())
    return table


def _foretold(
    runs: pd.DataFrame, outcome: str, predictors: list[str], names: dict[str, str]
) -> list[dict[str, object]]:
    """Return the rows of one outcome."""
    seeds = runs["seed"].nunique()
    groups = [*runs["intervention"].dropna().unique()]
    place = runs["intervention"].to_numpy().reshape(seeds, -1)[0]
    y = runs[outcome].to_numpy(float).reshape(seeds, -1)
    errors, around, taus = {}, {}, {}
    for name in predictors:
        x = runs[name].to_numpy(float).reshape(seeds, -1)
        if PREDICTORS[name][1]:
            (x,), _ = logarithms(x)
        for found, fit in ((errors, _line), (around, _neighbours)):
            each = [
                [_error(fit, *pair, place == g) for g in groups] for pair in zip(x, y, strict=True)
            ]
            found[name] = np.array(each)
        within = [pd.isna(place) | (place == group) for group in groups]
        each = [[_agreement(a[w], b[w]) for w in within] for a, b in zip(x, y, strict=True)]
        taus[name] = np.array(each)
    rows = []
    for name in predictors:
        parts = {ALL: np.arange(len(groups))} | {g: np.array([i]) for i, g in enumerate(groups)}
        for part, at in parts.items():
            error, reference = (errors[which][:, at].mean(axis=1) for which in (name, REFERENCE))
            apart = mean_over_seeds(error - reference)
            rows.append(
                {**names, "predictor": name, "intervention": part}
                | _columns("error", mean_over_seeds(error))
                | _columns("difference", apart)
                | _columns("neighbours", mean_over_seeds(around[name][:, at].mean(axis=1)))
                | _columns("tau", mean_over_seeds(taus[name][:, at].mean(axis=1)))
                | {"p": apart.p, "seeds": seeds}
            )
    return rows


def _columns(name: str, mean: Mean) -> dict[str, float]:
    return {name: mean.estimate, f"{name}_low": mean.low, f"{name}_high": mean.high}


def _error(
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    held_out: np.ndarray,
) -> float:
    """Return the error on runs of what is fitted to the others."""
    foretold = fit(x[~held_out], y[~held_out], x[held_out])
    return float(np.sqrt(np.mean((foretold - y[held_out]) ** 2)))


def _line(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Fit a line, by least norm: a predictor that does not vary foretells the mean."""
    fitted, asked = (np.column_stack([np.ones_like(values), values]) for values in (x, at))
    return asked @ (np.linalg.pinv(fitted) @ y)


def _neighbours(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Average the nearest runs, with all that are as near as the last of them."""
    distance = np.abs(at[:, None] - x)
    last = np.sort(distance, axis=1)[:, [min(NEIGHBOURS, len(x)) - 1]]
    return np.average(np.broadcast_to(y, distance.shape), axis=1, weights=distance <= last)


def _agreement(x: np.ndarray, y: np.ndarray) -> float:
    """Return Kendall's tau, 0 where nothing varies."""
    return float(np.nan_to_num(stats.kendalltau(x, y).statistic))


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the table out for print: a row per outcome and predictor, the best first."""
    rows = []
    overall = table[table["intervention"] == ALL].sort_values(["model", "outcome", "error"])
    for _, row in overall.iterrows():
        same = (table[["model", "outcome", "predictor"]] == row[KEYS[:3]]).all(axis=1)
        parts = table[same & (table["intervention"] != ALL)].set_index("intervention")
        apart = [100 * row[key] for key in ("difference", "difference_high")]
        p = row["p_holm"]
        rows.append(
            {
                "Model": row["model"],
                "Outcome": OUTCOMES[row["outcome"]],
                "Predictor": PREDICTORS[row["predictor"]][0],
                "Error (points)": plus_minus(100 * row["error"], 100 * row["error_high"]),
                "From the trace's": "-" if row["predictor"] == REFERENCE else plus_minus(*apart),
                "p (Holm)": "-" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
                "Neighbours": plus_minus(100 * row["neighbours"], 100 * row["neighbours_high"]),
                "Largest error": f"{100 * parts['error'].max():.1f} ({parts['error'].idxmax()})",
                "τ": plus_minus(row["tau"], row["tau_high"]),
                "n": row["seeds"],
            }
        )
    return pd.DataFrame(rows)
