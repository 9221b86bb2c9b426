"""Rise of the loss along the top eigenvector and along a random direction."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import LOSS_LABELS, gamma_colours, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("lines",), "order": 80}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per model, gamma, loss, direction and step.

    Returns
    -------
    DataFrame
        The columns of ``lines.csv``, and ``rise``: the loss above the least on its line (nats). The
        losses of different gammas differ in height, which says nothing of curvature.
    """
    lines = tables["lines"]
    least = lines.groupby(["model", "gamma", "hessian_of", "direction"])["loss"].transform("min")
    return lines.assign(rise=lines["loss"] - least)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per direction, a panel per model and loss, a line per gamma.

    Each panel has a scale of its own, logarithmic above a thousandth of its largest rise: what
    is compared is the gammas within it.
    """
    directions = list(data["direction"].unique())
    columns = [(model, loss) for model in data["model"].unique() for loss in LOSS_LABELS]
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels(directions, [" ".join(c) for c in columns], 1.9, sharex=True)
    for row, direction in zip(axes, directions, strict=True):
        for ax, (model, loss) in zip(row, columns, strict=True):
            panel = data[
                (data["model"] == model)
                & (data["hessian_of"] == loss)
                & (data["direction"] == direction)
            ]
            for gamma, group in panel.groupby("gamma"):
                ax.plot(group["step"], group["rise"], color=palette[gamma], label=f"{gamma:g}")
            ax.set_yscale("symlog", linthresh=1e-3 * panel["rise"].max())
            ax.set_ylim(bottom=0)
        row[0].set_ylabel(f"{direction}\nrise of the loss (nats)")
    for ax, (model, loss) in zip(axes[0], columns, strict=True):
        ax.set_title(f"{label(model)}\n{LOSS_LABELS[loss]}")
    figure.supxlabel("distance from the trained weights, relative to their norm", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, title="γ", loc="outside right center")
    return figure
