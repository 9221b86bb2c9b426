"""What became of the traces that were penalised, from the histories of the regularised runs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from focal_curvature.analysis.summary import by_cell, plus_minus

PRODUCT = {"needs": ("histories",), "order": 70, "where": "regularised"}
PENALISED = "penalised_trace"
KEYS = ["model", "objective", "seed", "status"]
# Of the penalised trace, and of both traces in evaluation mode where they were followed.
COLUMNS = {
    f"{PENALISED}_first": "Penalised trace, first",
    f"{PENALISED}_last": "last",
    f"{PENALISED}_least": "least",
    "trace_hessian": "Trace, Hessian, last",
    "trace_gauss_newton": "Trace, Gauss-Newton, last",
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Describe the penalised trace along training, a row per run that has one.

    Or that was regularised and diverged before its first evaluation, and so has no history.

    Parameters
    ----------
    tables : mapping
        ``histories``, a row per run and evaluated epoch, or one without an epoch.

    Returns
    -------
    DataFrame
        `KEYS`, of diverged runs too, and the keys of `COLUMNS` (nats): ``penalised_trace_*`` of the
        penalty's own estimates, each averaged over the steps of an evaluated epoch, with batch norm
        in training mode; ``trace_*`` of the last row, on ``training.trace_samples`` images in
        evaluation mode, else NaN. ``negative``: share of evaluated epochs with a negative mean.
    """
    rows = []
    histories = tables["histories"]
    regularised = histories[histories["regulariser"].notna()]
    for run, epochs in regularised.groupby(KEYS, sort=False):
        history = epochs[epochs["epoch"].notna()]
        if len(history) and not history.get(PENALISED, pd.Series()).notna().any():
            continue
        row = dict(zip(KEYS, run, strict=True))
        if len(history):
            trace = history[PENALISED]
            row |= {
                f"{PENALISED}_first": trace.iloc[0],
                f"{PENALISED}_last": trace.iloc[-1],
                f"{PENALISED}_least": trace.min(),
                "negative": (trace < 0).mean(),
            }
            row |= {name: history[name].iloc[-1] for name in COLUMNS if name in history}
        rows.append(row)
    return pd.DataFrame(rows, columns=[*KEYS, *COLUMNS, "negative"])


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the table out for print: a row per arm, means over completed runs with 95% intervals."""
    keys = ["model", "objective"]
    cells = by_cell(table, [*COLUMNS, "negative"], keys).set_index([*keys, "metric"])
    rows = []
    for cell, group in table.groupby(keys, sort=False):
        row = dict(zip(("Model", "Objective"), cell, strict=True))
        for metric, heading in COLUMNS.items():
            known = (*cell, metric) in cells.index
            row[heading] = (
                plus_minus(*cells.loc[(*cell, metric), ["mean", "high"]]) if known else "-"
            )
        if (*cell, "negative") in cells.index:
            row["Negative (%)"] = f"{100 * cells.loc[(*cell, 'negative'), 'mean']:.0f}"
        completed = (group["status"] == "completed").sum()
        rows.append(row | {"Completed": f"{completed} of {len(group)}"})
    return pd.DataFrame(rows).fillna("-")
