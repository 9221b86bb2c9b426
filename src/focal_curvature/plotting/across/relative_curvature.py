"""Curvature relative to that at gamma 0, of every network on every data set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.analysis.pooled import networks
from focal_curvature.plotting import relative_curvature
from focal_curvature.plotting.common import (
    LOSS_LABELS,
    MARKERS,
    colours,
    legend_above,
    panels,
    plain_log_ticks,
    seeds_and_mean,
)
from focal_curvature.registry import label

DATA_SETS = {
    "cifar10_jpeg": "CIFAR-10 (JPEG)",
    "fashion_mnist": "Fashion-MNIST",
    "dna": "DNA",
    "word_languages": "languages of words",
}
# Of the experiments that have the same network and data set.
FILLS: tuple[dict[str, str], ...] = ({}, {"mfc": "white"}, {"fillstyle": "left"})
KEYS = ["data_set", "model", "experiments"]  # of a network
UP_TO = 5  # the range of gamma that the claims are about


def named(shown: pd.DataFrame) -> list[str]:
    """Return what a reader calls networks, a row of `KEYS` each.

    With their experiments, where several have the same network and data set.
    """
    several = shown.groupby(KEYS[:2], sort=False)["experiments"].transform("size") > 1
    return [
        f"{DATA_SETS.get(row.data_set, row.data_set)}, {label(row.model)}"
        + (f" ({row.experiments.replace(f'{row.data_set}_', '')})" if more else "")
        for row, more in zip(shown.itertuples(), several, strict=True)
    ]


def prepare(tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return `focal_curvature.plotting.relative_curvature`'s rows of every network.

    Returns
    -------
    DataFrame
        data_set, experiments, and that figure's columns. Runs that two experiments share are there
        once, under both names.
    """
    parts = []
    for (data_set, _, experiments), runs in networks(
        tables["runs"], tables["rules"]["alike"]
    ).items():
        ratios = relative_curvature.prepare({"runs": runs})
        parts.append(ratios.assign(data_set=data_set, experiments=experiments))
    table = pd.concat(parts, ignore_index=True)
    return table[table["gamma"] <= UP_TO]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per measure, a column per loss; a line per network and data set."""
    shown = data[KEYS].drop_duplicates()
    fill = shown.groupby(KEYS[:2], sort=False).cumcount() % len(FILLS)
    cells = list(shown.assign(name=named(shown), fill=fill).itertuples(index=False))
    data_sets = list(data["data_set"].unique())
    palette = colours(data_sets)
    styles = dict(zip(data_sets, ("-", "--", "-.", ":") * len(data_sets), strict=False))
    markers = dict(zip(data["model"].unique(), itertools.cycle(MARKERS), strict=False))
    measures = relative_curvature.MEASURES
    figure, axes = panels(list(measures), list(LOSS_LABELS), 2.2, sharex=True)
    for row, (measure, text) in zip(axes, measures.items(), strict=True):
        for ax, (loss, title) in zip(row, LOSS_LABELS.items(), strict=True):
            ax.set_yscale("log")
            ax.axhline(1, color="0.4", lw=0.8, zorder=0)
            panel = data[(data["measure"] == measure) & (data["hessian_of"] == loss)]
            for i, cell in enumerate(cells):
                own = (panel[KEYS] == [*cell[: len(KEYS)]]).all(axis=1)
                network = panel[own & (panel["gamma"] > 0)]
                shift = 0.03 * (i - (len(cells) - 1) / 2)
                seeds_and_mean(
                    ax,
                    network,
                    "ratio",
                    palette[cell.data_set],
                    cell.name,
                    shift,
                    look=FILLS[cell.fill]
                    | {"marker": markers[cell.model], "ls": styles[cell.data_set]},
                    dots=False,
                )
            plain_log_ticks(ax.yaxis)
            ax.grid(axis="y")
            if ax in axes[0]:
                ax.set_title(f"Hessian of {title}")
        row[0].set_ylabel(f"{text}\nrelative to γ = 0")
    for ax in axes[-1]:
        ax.set_xlabel("focusing parameter γ")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure
