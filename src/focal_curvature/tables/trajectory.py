"""Curvature against calibration error along the training of single runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

PRODUCT = {"needs": ("trajectory",), "order": 60}
# Measures of curvature, with their headings in print.
MEASURES = {
    "top_eigenvalue_gauss_newton_cross_entropy": "λmax, Gauss-Newton, CE",
    "trace_gauss_newton_cross_entropy": "Trace, Gauss-Newton, CE",
    "top_eigenvalue_cross_entropy": "λmax, CE",
    "top_eigenvalue_objective": "λmax, objective",
    "trace_objective": "Trace, objective",
}
SPLITS = ("train", "validation")
KEYS = ["model", "objective", "seed", "same_weights"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Correlate each measure with each split's ECE over the measured epochs of a run.

    Parameters
    ----------
    tables : mapping
        ``trajectory``, a row per run and epoch: `KEYS` (the last: whether the run, trained once
        more to be followed, ended with the weights of the run itself, to the bit), the keys
        of `MEASURES` (nats), ``<measure>_converged`` (earlier tables lack it), ``<split>_ece``.

    Returns
    -------
    DataFrame
        `KEYS`, ``split``, ``measure``, ``r``, ``n`` and ``unconverged``: Pearson's correlation over
        the n epochs at which both are known, NaN where either does not vary, and below three
        epochs; at how many of them the measure is less exact than was asked, NaN if not known.
    """
    rows = []
    for key, group in tables["trajectory"].groupby(KEYS, sort=False):
        for split in SPLITS:
            for measure in MEASURES:
                pair = group[[measure, f"{split}_ece"]].dropna()
                varies = len(pair) > 2 and (pair.nunique() > 1).all()
                r = pair.corr().iloc[0, 1] if varies else np.nan
                unconverged = np.nan
                if f"{measure}_converged" in group:
                    flags = group.loc[pair.index, f"{measure}_converged"]
                    unconverged = (~flags.astype(bool)).sum()
                rows.append([*key, split, measure, r, len(pair), unconverged])
    return pd.DataFrame(rows, columns=[*KEYS, "split", "measure", "r", "n", "unconverged"])


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the correlations out for print: a row per run and split, a column per measure."""
    rows = []
    for key, group in table.groupby([*KEYS, "split"], sort=False):
        model, objective, seed, same, split = key
        correlations = group.set_index("measure")["r"]
        inexact = group.set_index("measure")["unconverged"] > 0
        rows.append(
            {"Model": model, "Objective": objective, "Seed": seed, "ECE of": split}
            | {
                heading: "-"
                if np.isnan(correlations[measure])
                else f"{correlations[measure]:+.2f}{' !' if inexact[measure] else ''}"
                for measure, heading in MEASURES.items()
            }
            | {"n": int(group["n"].min()), "Same weights": "yes" if same else "no"}
        )
    return pd.DataFrame(rows)
