"""Accuracy and calibration under distribution shift, by the severity of corruption."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from focal_curvature.plotting.common import (
    MARKERS,
    gamma_colours,
    legend_above,
    objective_label,
    panels,
)
from focal_curvature.registry import label
from focal_curvature.tables import shift

PRODUCT = {"needs": ("shift",), "order": 170}
# Metric -> label of its row of panels, and the factor to its unit.
SHOWN = {
    "accuracy": ("accuracy (%)", 100),
    "confidence_gap": ("confidence gap\n(points)", 100),
    "ece": ("ECE (%)", 100),
    "ece_scaled": ("ECE (%),\ntemperature-scaled", 100),
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return `focal_curvature.tables.shift.prepare`'s rows of SHOWN's metrics.

    Clean images have severity 0, corrupted ones 1 to 5, means over the kinds of corruption; without
    another test set, which is no severity.
    """
    table = shift.prepare(tables)
    wanted = table["shift"].isin(["none", "corruptions"]) & table["metric"].isin(list(SHOWN))
    return table[wanted]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per metric, a column per model; a line per objective, 95% intervals.

    Focal loss in the colours of gamma, all else dashed.
    """
    models, objectives = list(data["model"].unique()), list(data["objective"].unique())
    focal = [name for name in objectives if re.fullmatch(r"ce|focal-[\d.]+", name)]
    others = [name for name in objectives if name not in focal]
    palette = gamma_colours(focal) | dict(
        zip(others, sns.color_palette("Greens_d", len(others)), strict=True)
    )
    markers = dict(zip(objectives, MARKERS * len(objectives), strict=False))
    figure, axes = panels(list(SHOWN), models, 1.6, sharex=True, sharey="row")
    for row, (metric, (text, factor)) in zip(axes, SHOWN.items(), strict=True):
        for ax, model in zip(row, models, strict=True):
            panel = data[(data["model"] == model) & (data["metric"] == metric)]
            for objective, curve in panel.groupby("objective", sort=False):
                curve = curve.sort_values("severity")
                mean, low, high = (factor * curve[name] for name in ("mean", "low", "high"))
                ax.errorbar(
                    curve["severity"],
                    mean,
                    yerr=[(mean - low).fillna(0), (high - mean).fillna(0)],
                    marker=markers[objective],
                    ls="-" if objective in focal else "--",
                    ms=3,
                    lw=0.9,
                    elinewidth=0.6,
                    color=palette[objective],
                    label=objective_label(objective),
                )
            ax.grid(axis="y")
        if metric == "confidence_gap":
            for ax in row:
                ax.axhline(0, color="0.6", lw=0.6, zorder=0)
        row[0].set_ylabel(text)
    for top, bottom, model in zip(axes[0], axes[-1], models, strict=True):
        top.set_title(label(model))
        bottom.set_xlabel("severity of corruption")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure
