"""What several figures share: sizes, colours, seeds with their mean and interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from focal_curvature.analysis.summary import interval

COLUMN, PAGE = 3.5, 7.5  # widths in inches: one column, two columns

PENALTY_LABELS = {
    "hessian_trace": "Hessian trace",
    "gauss_newton_trace": "Gauss-Newton trace",
    "sam": "SAM",
}
LOSS_LABELS = {"objective": "training objective", "cross_entropy": "cross-entropy"}


def arm_label(name: str) -> str:
    """Write the name of a loss or penalty for a legend."""
    return PENALTY_LABELS.get(name, name.replace("_", " "))


def focal_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Select the completed runs of the focal family (gamma 0 is cross-entropy)."""
    return runs[(runs["status"] == "completed") & runs["gamma"].notna()]


def colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Give each name a colour of seaborn's colour-blind safe palette."""
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def gamma_colours(gammas: Sequence[float]) -> dict[float, tuple[float, float, float]]:
    """Give each gamma a colour that also orders them in grey: dark is small."""
    return dict(zip(gammas, sns.color_palette("viridis", len(gammas)), strict=True))


def seeds_and_mean(
    ax: Axes, data: pd.DataFrame, value: str, colour: object, label: str, offset: float
) -> None:
    """Draw every seed as a dot, the mean over seeds as a line, its 95% interval as bars.

    Parameters
    ----------
    ax : Axes
    data : DataFrame
        Columns ``gamma`` and ``value``, a row per seed.
    value : str
        Column to draw.
    colour, label
        Of the series.
    offset : float
        Shift along gamma that keeps series apart; the seeds are shifted twice as far.
    """
    groups = data.groupby("gamma")[value]
    gammas = np.array(sorted(groups.groups)) + offset
    mean, low, high = np.array([interval(values) for _, values in groups]).T
    # Seeds stand beside their mean, or its marker would hide them.
    seeds = data["gamma"] + 2 * offset
    ax.plot(seeds, data[value], "o", ms=2.2, mew=0, alpha=0.6, color=colour)
    ax.errorbar(
        gammas,
        mean,
        yerr=np.nan_to_num([mean - low, high - mean]),
        color=colour,
        marker="o",
        ms=3,
        capsize=2,
        elinewidth=0.8,
        label=label,
    )


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
