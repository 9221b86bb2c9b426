"""All claims on one page: effects with their intervals, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.plotting.common import LOSS_LABELS, PAGE, colours

ALL = "all models"  # the rows for all of them, as in claims.csv
MARKS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?", "not tested": "·"}
MARKERS = {
    "supported": {"marker": "o"},
    "contradicted": {"marker": "X"},
    "inconclusive": {"marker": "o", "mfc": "white"},
}
UNITS = {"ρ": ("Spearman's ρ", 1), "points": ("percentage points of ECE", 100)}
ROW = 0.2  # inches
LEFT = -0.33  # where claims begin, in widths of a panel: that of the lines' labels


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per claim, Hessian and model; ``unit`` is ρ, or points (ECE as a fraction)."""
    claims = tables["claims"]
    columns = ["family", "says", "hessian_of", "model", "estimate", "low", "high", "verdict"]
    correlation = claims["statistic"].str.startswith("Spearman")
    return claims[columns].assign(unit=correlation.map({True: "ρ", False: "points"}))


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per unit; in it each claim with a line per Hessian, and a dot per model."""
    models = [model for model in data["model"].unique() if model != ALL]
    palette = colours(models) | {ALL: (0.0, 0.0, 0.0)}
    units = [unit for unit in UNITS if (data["unit"] == unit).any()]
    parts = [data[data["unit"] == unit] for unit in units]
    rows = [
        len(part.drop_duplicates(["says", "hessian_of"])) + part["says"].nunique() for part in parts
    ]
    figure = Figure(figsize=(PAGE, ROW * (sum(rows) + 5 * len(rows))))
    axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=rows)[:, 0]
    for ax, unit, part in zip(axes, units, parts, strict=True):
        label, factor = UNITS[unit]
        _forest(ax, part, palette, factor)
        ax.set_xlabel(label)
        if unit == "ρ":
            ax.set_xlim(-1.05, 1.05)
    drawn = [
        model for model in palette if data.loc[data["model"] == model, "estimate"].notna().any()
    ]
    handles = [Line2D([], [], marker="s", ls="", color=palette[m], label=m) for m in drawn]
    handles += [
        Line2D([], [], ls="", color="0.3", label=verdict, **marker)
        for verdict, marker in MARKERS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _forest(ax: Axes, data: pd.DataFrame, palette: Mapping[str, tuple], factor: float) -> None:
    place, ticks = 0.0, {}
    outside = ax.get_yaxis_transform()
    for (family, says), claim in data.groupby(["family", "says"], sort=False):
        ax.text(
            LEFT,
            place,
            f"{family}: {says}",
            transform=outside,
            weight="bold",
            va="center",
            bbox={"fc": "white", "lw": 0, "pad": 1},
        )
        for hessian, group in claim.groupby("hessian_of", sort=False):
            place += 1
            ticks[place] = f"Hessian of {LOSS_LABELS[hessian]}"
            found = group.dropna(subset=["estimate", "low", "high"])
            for i, row in enumerate(found.itertuples()):
                middle, low, high = (factor * v for v in (row.estimate, row.low, row.high))
                y = place + 0.3 * (i - (len(found) - 1) / 2)
                ax.plot([low, high], [y, y], color=palette[row.model], lw=1)
                ax.plot(
                    middle, y, color=palette[row.model], ms=4.5, mew=0.8, **MARKERS[row.verdict]
                )
            (overall,) = group.loc[group["model"] == ALL, "verdict"]
            ax.text(1.02, place, f"{MARKS[overall]} {overall}", transform=outside, va="center")
        place += 1.2
    ax.set_yticks(list(ticks), ticks.values())
    ax.set_ylim(place - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.axvline(0, color="0.5", lw=0.6, zorder=0)
    ax.grid(axis="x")
