"""Interventions on trained networks, laid out for print."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

PRODUCT = {"needs": ("controls",), "order": 50}
# Columns of the tables of `focal_curvature.analysis.controls`, with headings and factors to units.
MEASURES = {
    "ece": ("ECE (%)", 100),
    "top_eigenvalue": ("λmax", 1),
    "trace": ("Trace", 1),
    "trace_gauss_newton": ("Trace, Gauss-Newton", 1),
    "adaptive_sharpness": ("Adaptive sharpness", 1),
}
CONTROLS = {
    "none": "as trained",
    "temperature": "temperature {:.2f}",
    "dinh": "layers rescaled by {:g}",
    "psi": "Ψ",
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per network and intervention, as the stage ``controls`` made it."""
    return tables["controls"]


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the interventions out: a row per network and intervention, curvature of cross-entropy.

    Parameters
    ----------
    table : DataFrame
        A row per network and intervention: ``model``, ``objective``, ``control``, ``value``,
        ``reason`` (why it can't be done) and the keys of `MEASURES`, NaN where there is none;
        ``top_eigenvalue_converged`` and ``trace_converged``, where they are known.

    Returns
    -------
    DataFrame
        Strings; three digits.
    """
    rows = []
    for row in table.to_dict("records"):
        done = CONTROLS[row["control"]].format(row["value"])
        shown = {"Model": row["model"], "Objective": row["objective"], "Intervention": done}
        for measure, (heading, factor) in MEASURES.items():
            text = "-" if pd.isna(row[measure]) else f"{factor * row[measure]:.3g}"
            # The trace's error is not always bounded: that says neither.
            ended = row.get(f"{measure}_converged") is False
            shown[heading] = f"{text} (not converged)" if ended else text
        rows.append(shown)
    return pd.DataFrame(rows)
