"""Verdicts on the claims, by the rules of ``workflow/claims.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from focal_curvature.analysis.claims import judge, printed, to_json

__all__ = ["prepare", "printed", "to_json"]

PRODUCT = {
    "needs": ("runs",),
    "takes": ("controls",),
    "where": "of several objectives",
    "order": 10,
    "settings": ("rules", "experiment"),
    "formats": ("html", "csv", "md", "tex"),
    "category": "Verdicts",
    "json": "claims.json",
    "parallel": True,
}


def prepare(
    tables: Mapping[str, pd.DataFrame],
    rules: Mapping[str, Any],
    experiment: str,
    processes: int = 1,
) -> pd.DataFrame:
    """Return the verdicts, as `focal_curvature.analysis.claims.judge`."""
    return judge(tables["runs"], rules, experiment, tables.get("controls"), processes)
