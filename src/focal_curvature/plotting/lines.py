"""Loss along the top eigenvector and along a random direction."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import LOSS_LABELS, gamma_colours, panels


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per model, gamma, loss, direction and step: loss (nats)."""
    return tables["lines"]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per direction, a panel per model and loss, a line per gamma."""
    directions = list(data["direction"].unique())
    columns = [(model, loss) for model in data["model"].unique() for loss in LOSS_LABELS]
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels(directions, [" ".join(c) for c in columns], 1.9, sharex=True, sharey=True)
    for row, direction in zip(axes, directions, strict=True):
        for ax, (model, loss) in zip(row, columns, strict=True):
            chosen = data[
                (data["model"] == model)
                & (data["hessian_of"] == loss)
                & (data["direction"] == direction)
            ]
            for gamma, group in chosen.groupby("gamma"):
                ax.plot(group["step"], group["loss"], color=palette[gamma], label=f"{gamma:g}")
            ax.set_yscale("log")
        row[0].set_ylabel(f"{direction}\nloss (nats)")
    for ax, (model, loss) in zip(axes[0], columns, strict=True):
        ax.set_title(f"{model}\n{LOSS_LABELS[loss]}")
    figure.supxlabel("distance from the trained weights, relative to their norm", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, title="γ", loc="outside right center")
    return figure
