"""All claims on a page: effects with their intervals, and the verdicts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.analysis.evidence import VERDICTS
from focal_curvature.plotting.common import (
    LOSS_LABELS,
    PAGE,
    colours,
    legend_above,
    nothing,
    plain_log_ticks,
)

PRODUCT = {"needs": ("claims",), "order": 60}
ALL = "all models"  # the rows for all of them, as in claims.csv
MARKERS = {
    "supported": {"marker": "o"},
    "contradicted": {"marker": "X"},
    "negligible": {"marker": "s"},
    "inconclusive": {"marker": "o", "mfc": "white"},
}
ROW = 0.2  # inches
WIDTH = 88  # characters of a line, which is as wide as the page
LEFT = -0.29  # where claims begin, in widths of a panel: that of the lines' labels
COLUMNS = [
    *("family", "says", "hessian_of", "model", "estimate", "low", "high", "unit", "null"),
    *("verdict", "fragile"),
]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per claim, Hessian and model of those that decide, in ``unit``."""
    claims = tables["claims"]
    return claims.loc[claims["role"] == "decides", COLUMNS].fillna({"hessian_of": ""})


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per unit; in it each claim with a line per Hessian, and a dot per model.

    Claims that no model's runs could test stand in the table alone.
    """
    data = data.fillna({"hessian_of": ""})
    data = data[data.groupby("says")["estimate"].transform("count") > 0]
    if data.empty:
        return nothing()
    models = [model for model in data["model"].unique() if model != ALL]
    palette = colours(models) | {ALL: (0.0, 0.0, 0.0)}
    parts = [part for _, part in data.groupby("unit", sort=False)]
    rows = [
        len(part.drop_duplicates(["says", "hessian_of"])) + sum(map(_lines, part["says"].unique()))
        for part in parts
    ]
    figure = Figure(figsize=(PAGE, ROW * (sum(rows) + 5 * len(rows))))
    axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=rows)[:, 0]
    for ax, part in zip(axes, parts, strict=True):
        _forest(ax, part, palette)
        ax.set_xlabel(part["unit"].iloc[0])
    drawn = [
        model for model in palette if data.loc[data["model"] == model, "estimate"].notna().any()
    ]
    handles = [Line2D([], [], marker="s", ls="", color=palette[m], label=m) for m in drawn]
    handles += [
        Line2D([], [], ls="", color="0.3", label=verdict, **marker)
        for verdict, marker in MARKERS.items()
    ]
    legend_above(figure, handles, [handle.get_label() for handle in handles])
    return figure


def _lines(says: str) -> int:
    """Return how many lines a claim takes."""
    return len(textwrap.wrap(says, WIDTH))


def _forest(ax: Axes, data: pd.DataFrame, palette: Mapping[str, tuple]) -> None:
    place, ticks = 0.0, {}
    outside = ax.get_yaxis_transform()
    for (family, says), claim in data.groupby(["family", "says"], sort=False):
        ax.text(
            LEFT,
            place,
            textwrap.fill(f"{family}: {says}", WIDTH),
            transform=outside,
            weight="bold",
            va="center_baseline" if _lines(says) == 1 else "top",
            bbox={"fc": "white", "lw": 0, "pad": 1},
        )
        place += _lines(says) - 1
        for hessian, group in claim.groupby("hessian_of", sort=False):
            place += 1
            ticks[place] = f"Hessian of {LOSS_LABELS[hessian]}" if hessian else ""
            found = group[np.isfinite(group[["estimate", "low", "high"]]).all(axis=1)]
            for i, row in enumerate(found.itertuples()):
                y = place + 0.3 * (i - (len(found) - 1) / 2)
                ax.plot([row.low, row.high], [y, y], color=palette[row.model], lw=1)
                marker = MARKERS.get(row.verdict, {"marker": "."})
                ax.plot(row.estimate, y, color=palette[row.model], ms=4.5, mew=0.8, **marker)
            (overall,) = group.loc[group["model"] == ALL, ["verdict", "fragile"]].to_numpy()
            text = f"{VERDICTS[overall[0]]} {overall[0]}{' !' if overall[1] else ''}"
            ax.text(1.02, place, text, transform=outside, va="center")
        place += 1.2
    ax.set_yticks(list(ticks), ticks.values())
    ax.set_ylim(place - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.axvline(data["null"].iloc[0], color="0.5", lw=0.6, zorder=0)
    if (data["unit"] == "ratio").all():
        ax.set_xscale("log")
        plain_log_ticks(ax.xaxis)
    ax.grid(axis="x")
