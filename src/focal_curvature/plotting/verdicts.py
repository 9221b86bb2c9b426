"""All claims on a page: effects with their intervals, and the verdicts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.analysis.answer import HESSIANS
from focal_curvature.analysis.claims import ALL
from focal_curvature.analysis.evidence import VERDICTS
from focal_curvature.plotting.common import (
    PAGE,
    colours,
    legend_above,
    nothing,
    plain_log_ticks,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("claims",), "order": 60}
MARKERS = {
    "supported": {"marker": "o"},
    "contradicted": {"marker": "X"},
    "negligible": {"marker": "s"},
    "mixed": {"marker": "D"},
    "inconclusive": {"marker": "o", "mfc": "white"},
}
ROW = 0.13  # inches
WIDTH = 64  # characters of a line of a claim
COLUMNS = [
    *("family", "says", "hessian_of", "model", "estimate", "low", "high", "unit", "null"),
    *("verdict", "fragile"),
]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per claim, Hessian and model of those that decide, in ``unit``."""
    claims = tables["claims"]
    return claims.loc[claims["role"] == "decides", COLUMNS].fillna({"hessian_of": ""})


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per family and unit; in it a line per claim and Hessian, and a dot per model.

    Claims that no model's runs could test stand in the table alone.
    """
    data = data.fillna({"hessian_of": ""})
    data = data[data.groupby("says")["estimate"].transform("count") > 0]
    if data.empty:
        return nothing()
    models = [model for model in data["model"].unique() if model != ALL]
    palette = colours(models) | {ALL: (0.0, 0.0, 0.0)}
    parts = [part for _, part in data.groupby(["family", "unit"], sort=False)]
    heights = [sum(_rows(claim) for _, claim in part.groupby("says")) for part in parts]
    # Each panel has an axis below it.
    figure = Figure(figsize=(PAGE, ROW * (sum(heights) + 3 * len(parts) + 3)))
    axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, part in zip(axes, parts, strict=True):
        _forest(ax, part, palette)
    shown = data[data["estimate"].notna()]
    drawn = [model for model in palette if (shown["model"] == model).any()]
    handles = [Line2D([], [], color=palette[m], lw=2, label=label(m)) for m in drawn if m != ALL]
    handles += [
        Line2D([], [], ls="", ms=4, color="0.3", label=verdict, **marker)
        for verdict, marker in MARKERS.items()
        if (shown["verdict"] == verdict).any()
    ]
    legend_above(figure, handles, [handle.get_label() for handle in handles])
    return figure


def _text(claim: pd.DataFrame) -> str:
    """Return what a claim says, in lines."""
    says = re.sub(r"gamma(?= \d)", "γ =", claim["says"].iloc[0]).replace("gamma", "γ")
    text = f"{claim['family'].iloc[0]}: {says}"
    lines = [textwrap.wrap(text, width) for width in range(WIDTH // 2, WIDTH + 1)]
    # Of so many lines as are needed, those of the least width: no word stands alone.
    return "\n".join(min(lines, key=len))


def _rows(claim: pd.DataFrame) -> int:
    """Return how many rows a claim takes: for its Hessians, or its text."""
    return max(claim["hessian_of"].nunique(), len(_text(claim).splitlines()))


def _forest(ax: Axes, data: pd.DataFrame, palette: Mapping[str, tuple]) -> None:
    start, ticks = 0, {}
    outside = ax.get_yaxis_transform()
    for _, claim in data.groupby("says", sort=False):
        hessians, rows = list(claim["hessian_of"].unique()), _rows(claim)
        ticks[start + (rows - 1) / 2] = _text(claim)
        for i, hessian in enumerate(hessians):
            group = claim[claim["hessian_of"] == hessian]
            place = start + i + (rows - len(hessians)) / 2
            # Some have no interval; one without an end cannot be drawn.
            endless = np.isinf(group[["low", "high"]]).any(axis=1)
            finite = group[np.isfinite(group["estimate"]) & ~endless]
            for j, row in enumerate(finite.itertuples()):
                y = place + 0.28 * (j - (len(finite) - 1) / 2)
                ax.plot([row.low, row.high], [y, y], color=palette[row.model], lw=0.9)
                style = {"color": palette[row.model], "ms": 3, "mew": 0.7}
                ax.plot(row.estimate, y, **style, **MARKERS[row.verdict])
            (overall,) = group.loc[group["model"] == ALL, ["verdict", "fragile"]].to_numpy()
            text = f"{VERDICTS[overall[0]]} {overall[0]}{' !' if overall[1] else ''}"
            ax.text(1.01, place, text, transform=outside, va="center", size=6)
            ax.text(
                *(-0.01, place, HESSIANS[hessian]),
                transform=outside,
                va="center",
                ha="right",
                size=6,
            )
        start += rows
        ax.axhline(start - 0.5, color="0.85", lw=0.4, zorder=0)
    ax.set_yticks(list(ticks), ticks.values(), size=6)
    ax.tick_params(axis="y", length=0, pad=50)  # points: room for the Hessians' names
    ax.set_ylim(start - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.axvline(data["null"].iloc[0], color="0.5", lw=0.6, zorder=0)
    if (data["unit"] == "ratio").all():
        ax.set_xscale("log")
        plain_log_ticks(ax.xaxis)
    ax.set_xlabel(data["unit"].iloc[0], labelpad=1, size=7)
    ax.grid(axis="x")
