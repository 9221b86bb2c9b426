"""What several figures share: sizes, colours, seeds with their mean and interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from focal_curvature.analysis.summary import interval

COLUMN, PAGE = 3.5, 7.5  # widths in inches: one column, two columns
FEWEST_JOINED = 3  # levels: fewer are points, not a line
OFF_SCALE = 2  # times the largest median of a cell: a run above it does not set the axis

LOSS_LABELS = {"objective": "training objective", "cross_entropy": "cross-entropy"}


def focal_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Select the completed runs of the focal family (gamma 0 is cross-entropy)."""
    focal = runs["gamma"].notna() & runs["regulariser"].isna()
    return runs[(runs["status"] == "completed") & focal]


def colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Give each name a colour of seaborn's colour-blind safe palette."""
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def gamma_colours(gammas: Sequence[float]) -> dict[float, tuple[float, float, float]]:
    """Give each gamma a colour that also orders them in grey: dark is small."""
    shades = sns.color_palette("plasma", len(gammas) + 1)[: len(gammas)]  # the last is too light
    return dict(zip(gammas, shades, strict=True))


def seeds_and_mean(
    ax: Axes,
    data: pd.DataFrame,
    value: str,
    colour: object,
    label: str,
    offset: float,
    *,
    level: str = "gamma",
) -> None:
    """Draw every seed as a dot, the mean over seeds as a line, its 95% interval as bars.

    On a logarithmic axis the mean is the geometric one, and the interval that of the logarithm:
    it never reaches below zero.

    Parameters
    ----------
    ax : Axes
        Its vertical scale is set already.
    data : DataFrame
        Columns ``level`` and ``value``, a row per seed.
    value : str
        Column to draw.
    colour, label
        Of the series.
    offset : float
        Shift that keeps series apart, on a logarithmic horizontal axis in decades; the seeds are
        shifted twice as far.
    level : str
        Column along which the series goes.
    """
    logarithmic = ax.get_yscale() == "log"
    forth, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    data = data.dropna(subset=[value])
    groups = data.groupby(level)[value]
    if not len(groups):
        return
    levels = np.array(sorted(groups.groups), float)
    mean, low, high = back(np.array([interval(forth(values)) for _, values in groups])).T
    # Seeds stand beside their mean, or its marker would hide them.
    seeds = data[level].to_numpy(float)
    if ax.get_xscale() == "log":
        levels, seeds = levels * 10**offset, seeds * 10 ** (2 * offset)
    else:
        levels, seeds = levels + offset, seeds + 2 * offset
    ax.plot(seeds, data[value], "o", ms=2.2, mew=0, alpha=0.6, color=colour)
    ax.errorbar(
        levels,
        mean,
        yerr=np.nan_to_num([mean - low, high - mean]),
        color=colour,
        marker="o",
        ms=3,
        ls="-" if len(levels) >= FEWEST_JOINED else "",
        capsize=2,
        elinewidth=0.8,
        label=label,
    )


def bound_axis(ax: Axes, data: pd.DataFrame, place: str, value: str, cell: str | list[str]) -> None:
    """Let the axis of a value that starts at zero end where its cells do.

    A run far above every cell's median, as one that failed to learn, does not set the axis: it
    stands at the upper edge with its value beside it.

    Parameters
    ----------
    ax : Axes
    data : DataFrame
        Columns ``place`` (horizontal), ``value`` (vertical) and those of ``cell``, a row per run.
    """
    data = data.dropna(subset=[value])
    off = data[value] > OFF_SCALE * data.groupby(cell, dropna=False)[value].median().max()
    top = 1.08 * data.loc[~off, value].max()
    ax.set_ylim(0, top)
    for run in data[off].itertuples():
        x, y = getattr(run, place), getattr(run, value)
        ax.plot(x, 0.97 * top, "^", ms=4, mfc="white", mec="0.3", mew=0.6)
        ax.annotate(f"{y:.0f}", (x, 0.97 * top), (4, -2), textcoords="offset points", size=6)


def panels(rows: Sequence[str], columns: Sequence[str], height: float, **share: object) -> tuple:
    """Make a figure of rows x columns panels, as wide as one column or the page.

    Returns
    -------
    figure : Figure
    axes : ndarray of Axes
        Shape (len(rows), len(columns)).
    """
    width = COLUMN if len(columns) == 1 else PAGE
    figure = Figure(figsize=(width, height * len(rows)))
    return figure, figure.subplots(len(rows), len(columns), squeeze=False, **share)


def legend_above(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], **settings: object
) -> None:
    """Put a legend above all panels, in as many columns as the figure's width has room for."""
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside upper center", ncols=columns, **settings
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def nothing() -> Figure:
    """Make the figure of a table without rows."""
    figure = Figure(figsize=(COLUMN, 0.5))
    figure.text(0.5, 0.5, "no completed run to draw", ha="center", va="center")
    return figure


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, as 2 or 0.5, instead of powers of ten."""
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if np.log10(np.divide(*axis.get_view_interval()[::-1])) < 1.5:
        axis.set_minor_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
    else:
        axis.set_minor_formatter(NullFormatter())
