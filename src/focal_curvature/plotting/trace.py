"""Hessian trace against gamma."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting import curvature

PRODUCT = {"needs": ("runs",), "order": 20, "where": "of several gammas"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run and loss: model, gamma, seed, hessian_of, trace (nats)."""
    return curvature.prepare(tables["runs"], "trace")


def draw(data: pd.DataFrame) -> Figure:
    """Draw every seed, means and 95% intervals over seeds."""
    return curvature.draw(data, "trace", "Hessian trace (nats)")
