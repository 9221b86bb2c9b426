"""Scores under distribution shift: means over seeds, by kind and severity, and changes from CE."""

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
    "ece_change": ("ECE, change from CE (points)", 100),
    "nll_refinement_change": ("Refinement, change from CE (nats)", 1),
}
REFERENCE = "ce"
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
        ``<metric>_change`` is the difference to the run with cross-entropy of the same seed under
        the same condition, where there is one.
    """
    table = tables["shift"]
    metrics = [column for column in table.columns[table.columns.get_loc("temperature") :]]
    kinds = table[table["severity"] > 0]
    average = kinds.groupby(["model", "objective", "seed", "severity"], sort=False, as_index=False)[
        metrics
    ].mean()
    every = pd.concat([table, average.assign(shift="corruptions")], ignore_index=True)
    cells = ["model", "seed", "shift", "severity"]
    plain = every.loc[every["objective"] == REFERENCE, [*cells, *metrics]]
    pairs = every[[*cells, "objective"]].merge(plain, on=cells, how="left")
    changes = (every[metrics] - pairs[metrics]).where(every["objective"] != REFERENCE)
    every = every.join(changes.add_suffix("_change")).assign(status="completed")
    return by_cell(every, [*metrics, *changes.add_suffix("_change")], KEYS)


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay out what is clean, the mean over corruptions by severity, and the other test set."""
    shown = table[table["shift"].isin(["none", "corruptions", "test_set"])]
    rows = []
    for (model, objective, shift, severity), group in shown.groupby(KEYS, sort=False):
        means = group.set_index("metric")
        row = {"Model": model, "Objective": objective, "Shift": shift, "Severity": severity or "-"}
        for metric, (heading, factor) in METRICS.items():
            if metric in means.index:
                mean, high = means.loc[metric, ["mean", "high"]] * factor
                row[heading] = plus_minus(mean, high)
        rows.append(row | {"n": int(group["n"].max())})
    return pd.DataFrame(rows).fillna("-")
