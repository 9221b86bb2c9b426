"""Scores under distribution shift: means over seeds, by kind and severity."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from focal_curvature.analysis.summary import by_cell, plus_minus

PRODUCT = {"needs": ("shift",), "order": 70}
METRICS = {
    "accuracy": ("Accuracy (%)", 100),
    "ece": ("ECE (%)", 100),
    "ece_scaled": ("ECE, scaled (%)", 100),
    "confidence_gap_scaled": ("Confidence gap, scaled (%)", 100),
    "nll_refinement": ("Refinement (nats)", 1),
}
KEYS = ["model", "objective", "shift", "severity"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Summarise over seeds each condition, and the mean over the kinds of a severity.

    Parameters
    ----------
    tables : mapping
        ``shift``, as the stage of that name makes it: a row per run and condition.

    Returns
    -------
    DataFrame
        `KEYS` (``shift`` is "corruptions" for the mean over kinds, of which each run counts once),
        ``metric``, ``mean``, ``low`` and ``high`` (95% interval over seeds), ``n``.
    """
    table = tables["shift"]
    metrics = [column for column in table.columns[table.columns.get_loc("temperature") :]]
    kinds = table[table["severity"] > 0]
    average = kinds.groupby(["model", "objective", "seed", "severity"], sort=False, as_index=False)[
        metrics
    ].mean()
    every = pd.concat([table, average.assign(shift="corruptions")], ignore_index=True)
    return by_cell(every.assign(status="completed"), metrics, KEYS)


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay out what is clean, the mean over corruptions by severity, and the other test set."""
    shown = table[table["shift"].isin(["none", "corruptions", "test_set"])]
    rows = []
    for (model, objective, shift, severity), group in shown.groupby(KEYS, sort=False):
        means = group.set_index("metric")
        row = {"Model": model, "Objective": objective, "Shift": shift, "Severity": severity or "-"}
        for metric, (heading, factor) in METRICS.items():
            mean, high = means.loc[metric, ["mean", "high"]] * factor
            row[heading] = plus_minus(mean, high)
        rows.append(row | {"n": int(group["n"].max())})
    return pd.DataFrame(rows)
