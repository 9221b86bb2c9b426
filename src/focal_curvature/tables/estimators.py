"""The engine against PyHessian on a real grid: agreement and cost."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

PRODUCT = {"needs": ("estimators",), "order": 30}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run, as the stage ``geometry`` made it."""
    return tables["estimators"]


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the comparison out for print, a row per run.

    Parameters
    ----------
    table : DataFrame
        Rows of `focal_curvature.curvature.geometry.compare`, with model, gamma and seed.
    """
    traces = zip(table["pyhessian_trace"], table["pyhessian_trace_stderr"], strict=True)
    return pd.DataFrame(
        {
            "Model": table["model"],
            "γ": table["gamma"],
            "λmax, PyHessian": table["pyhessian_top_eigenvalue"].map("{:.4g}".format),
            "λmax, engine": table["engine_top_eigenvalue"].map("{:.4g}".format),
            "Trace, PyHessian": [f"{trace:.4g} ± {stderr:.2g}" for trace, stderr in traces],
            "Trace, engine": table["engine_trace"].map("{:.4g}".format),
            "Difference (standard errors)": table["trace_difference_in_stderr"].map(
                "{:+.1f}".format
            ),
            "Time, PyHessian (s)": table["pyhessian_seconds"].map("{:.1f}".format),
            "Time, engine (s)": table["engine_seconds"].map("{:.1f}".format),
        }
    )
