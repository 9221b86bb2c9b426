"""What several figures share: sizes, colours, seeds with their mean and interval."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, MaxNLocator, NullFormatter, StrMethodFormatter

from focal_curvature.analysis.summary import interval
from focal_curvature.registry import label

COLUMN, PAGE = 3.5, 7.5  # widths in inches: one column, two columns
FEWEST_JOINED = 3  # levels: fewer are points, not a line
LABEL = 7  # points: labels of ticks, as in matplotlibrc
OFF_SCALE = 2  # times the largest median of a cell: a run above it does not set the axis
OFF_LOG_SCALE = 5  # the same of a logarithmic axis, beyond the largest and the least of them

LOSS_LABELS = {"objective": "training objective", "cross_entropy": "cross-entropy"}
# Of the series of a panel, which colour alone does not tell apart in grey.
MARKERS = "os^Dv<>P*X"
LOOKS: tuple[dict[str, str], ...] = (
    {"marker": "o", "ls": "-"},
    {"marker": "s", "ls": "--"},
    {"marker": "^", "ls": "-."},
)


def focal_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Select the completed runs of the focal family (gamma 0 is cross-entropy)."""
    # Tables of experiments without any regulariser may not have the column.
    alone = runs["regulariser"].isna() if "regulariser" in runs else True
    return runs[(runs["status"] == "completed") & runs["gamma"].notna() & alone]


def colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Give each name a colour of seaborn's colour-blind safe palette."""
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def gamma_colours(gammas: Sequence[float]) -> dict[float, tuple[float, float, float]]:
    """Give each gamma a colour that also orders them in grey: dark is small."""
    shades = sns.color_palette("plasma", len(gammas) + 1)[: len(gammas)]  # the last is too light
    return dict(zip(gammas, shades, strict=True))


def objective_label(slug: str) -> str:
    """Return an objective's name in figures: "focal-3" is γ = 3, "ce" cross-entropy."""
    if slug == "ce":
        return "cross-entropy"
    named = []
    for part in re.split("-(?=[a-z])", slug.removeprefix("ce-")):
        name, value = re.fullmatch(r"(.*?)-?(\d[\d.]*(?:e-?\d+)?|)", part).groups()
        named.append(f"γ = {value}" if name == "focal" else f"{label(name)} {value}".rstrip())
    return ", ".join(named)


def seeds_and_mean(
    ax: Axes,
    data: pd.DataFrame,
    value: str,
    colour: object,
    label: str,
    offset: float,
    *,
    level: str = "gamma",
    look: Mapping[str, str] = LOOKS[0],
    dots: bool = True,
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
    look : mapping
        ``marker`` and ``ls`` of the means.
    dots : bool
        Whether the seeds are drawn.
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
    if dots:
        ax.plot(seeds, data[value], "o", ms=2.2, mew=0, alpha=0.6, color=colour)
    ax.errorbar(
        levels,
        mean,
        yerr=np.nan_to_num([mean - low, high - mean]),
        color=colour,
        ms=3,
        **(look if len(levels) >= FEWEST_JOINED else {**look, "ls": ""}),
        capsize=2,
        elinewidth=0.8,
        label=label,
    )


def bound_axis(
    ax: Axes,
    data: pd.DataFrame,
    place: str,
    value: str,
    cell: str | list[str],
    *,
    along: Literal["x", "y"] = "y",
    best: float = 0.0,
) -> None:
    """Let the axis of a value end where its cells do, all their means within.

    Runs more than OFF_SCALE times as far from the best value as every cell's median, as those that
    failed to learn, do not set the axis: they stand at its edge, with their number and value. On a
    logarithmic axis these are the runs OFF_LOG_SCALE times beyond every cell's median, either way.

    Parameters
    ----------
    ax : Axes
        Its scale is set already.
    data : DataFrame
        Columns ``place`` (on the other axis), ``value`` and those of ``cell``, a row per run.
    along : str
        The axis of ``value``.
    best : float
        The best value that there can be: 0 of an error, 100 of an accuracy in percent.
    """
    data = data.dropna(subset=[value])
    values, groups = data[value], data.groupby(cell, dropna=False)[value]
    medians, means = groups.median(), groups.mean()
    logarithmic = getattr(ax, f"get_{along}scale")() == "log"
    forth, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    if logarithmic:
        low, high = medians.min() / OFF_LOG_SCALE, medians.max() * OFF_LOG_SCALE
        means = pd.concat([means, groups.agg(lambda v: np.exp(np.log(v).mean()))])
    else:
        far = OFF_SCALE * (medians - best).abs().max()
        low, high = best - far, best + far
    off = (values < low) | (values > high)
    drawn = forth(pd.concat([values[~off], means]))
    span = np.ptp(drawn) or 1.0
    beyond = {-1: data[values < low], 1: data[values > high]}
    # Where runs stand at the edge, with room for what is said of them.
    ends = {-1: drawn.min(), 1: drawn.max()}
    ends = {s: end + s * span * (0.2 if len(beyond[s]) else 0.08) for s, end in ends.items()}
    getattr(ax, f"set_{along}lim")(*back([ends[-1], ends[1]]))
    for sign, runs_beyond in beyond.items():
        edge = back(ends[sign] - sign * 0.03 * span)
        marker = {("y", 1): "^", ("y", -1): "v", ("x", 1): ">", ("x", -1): "<"}[along, sign]
        # Without a place, as plain cross-entropy on an axis of strengths, there is no run to show.
        for where, runs in runs_beyond.groupby(cell if along == "x" else place):
            worst = runs[value].max() if sign > 0 else runs[value].min()
            text = f"{worst:.3g}" if len(runs) == 1 else f"{len(runs)} runs, to {worst:.3g}"
            point = (where, edge) if along == "y" else (edge, runs[place].mean())
            ax.plot(*point, marker, ms=4, mfc="white", mec="0.3", mew=0.6, zorder=5)
            beside = {"xytext": (-5 * sign, 0), "ha": "right" if sign > 0 else "left"}
            below = {"xytext": (0, -5 * sign), "va": "top" if sign > 0 else "bottom"}
            look = {"va": "bottom", **beside} if along == "x" else {"ha": "center", **below}
            ax.annotate(text, point, textcoords="offset points", size=6, **look)


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


def nothing(why: str = "no completed run to draw") -> Figure:
    """Make the figure of a table without rows."""
    figure = Figure(figsize=(COLUMN, 0.5))
    figure.text(0.5, 0.5, why, ha="center", va="center")
    return figure


class _Roomy(Locator):
    """Plain numbers on a logarithmic axis, as dense as their labels have room."""

    def __init__(self, *, labelled: bool) -> None:
        self.labelled = labelled

    def __call__(self) -> np.ndarray:
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> np.ndarray:
        """Return the ticks that leave the least of the axis without one."""
        decades = 10.0 ** np.arange(np.floor(np.log10(vmin)), np.ceil(np.log10(vmax)) + 1)
        choices = [
            np.outer(decades, digits).ravel() for digits in (range(1, 10), (1, 2, 5), (1, 3), (1,))
        ]
        if not self.labelled:
            return choices[0]
        choices += [decades[::step] for step in range(2, len(decades))]
        choices += [
            MaxNLocator(n, steps=[1, 2, 5, 10]).tick_values(vmin, vmax) for n in range(8, 1, -1)
        ]
        within = [ticks[(vmin <= ticks) & (ticks <= vmax)] for ticks in choices]
        return min(
            filter(self._fit, within),
            key=lambda ticks: np.diff(np.log([vmin, *ticks, vmax])).max(),
            default=np.array([]),
        )

    def _fit(self, ticks: np.ndarray) -> bool:
        """Return whether no label of these ticks runs into the next."""
        axes = self.axis.axes
        low, high = np.log(self.axis.get_view_interval())
        across = self.axis.axis_name == "x"
        inches = (axes.bbox.width if across else axes.bbox.height) / axes.figure.dpi
        places = 72 * inches * (np.log(ticks) - low) / (high - low)
        wide = np.array([0.65 * len(f"{tick:g}") + 0.65 if across else 1.5 for tick in ticks])
        return bool((np.diff(places) > LABEL * (wide[1:] + wide[:-1]) / 2).all())


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, as 2 or 0.5, instead of powers of ten."""
    axis.set_major_locator(_Roomy(labelled=True))
    axis.set_minor_locator(_Roomy(labelled=False))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
