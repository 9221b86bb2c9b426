"""Each model and objective over its seeds: all numbers of the runs, and the printed ones."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from focal_curvature.analysis.summary import by_cell, flags_as_numbers, printed

__all__ = ["prepare", "printed"]

PRODUCT = {"needs": ("runs",), "order": 20}
SET = ("gamma", "strength", "seed")  # numbers that were chosen, not measured


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return means and intervals over seeds, as `focal_curvature.analysis.summary.by_cell`."""
    runs = flags_as_numbers(tables["runs"])
    return by_cell(runs, [name for name in runs.select_dtypes("number") if name not in SET])
