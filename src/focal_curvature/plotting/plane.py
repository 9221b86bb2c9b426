"""Loss on a plane of two random directions, for the smallest and the largest gamma."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from focal_curvature.plotting.common import LOSS_LABELS, panels


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per model, gamma, loss and point of the plane: loss (nats)."""
    return tables["plane"]


def draw(data: pd.DataFrame) -> Figure:
    """Draw filled contours, a row of panels per loss, all on one logarithmic colour scale."""
    # The gammas of a model's own: runs that diverged are not there.
    columns = [
        (model, gamma)
        for model, group in data.groupby("model", sort=False)
        for gamma in sorted(group["gamma"].unique())
    ]
    low, high = np.log10(data["loss"].min()), np.log10(data["loss"].max())
    levels = np.logspace(low, high, 17)
    figure, axes = panels(
        list(LOSS_LABELS), [str(c) for c in columns], 1.7, sharex=True, sharey=True
    )
    for row, loss in zip(axes, LOSS_LABELS, strict=True):
        for ax, (model, gamma) in zip(row, columns, strict=True):
            chosen = data[
                (data["model"] == model) & (data["gamma"] == gamma) & (data["hessian_of"] == loss)
            ]
            grid = chosen.pivot(index="y", columns="x", values="loss")
            drawn = ax.contourf(
                grid.columns,
                grid.index,
                grid,
                levels,
                norm=LogNorm(10**low, 10**high),
                cmap="cividis",
            )
            ax.plot(0, 0, "+", color="white", ms=5)
            ax.set_aspect("equal")
        row[0].set_ylabel(f"{LOSS_LABELS[loss]}\nsecond direction")
    for ax, (model, gamma) in zip(axes[0], columns, strict=True):
        ax.set_title(f"{model}, γ = {gamma:g}")
    figure.supxlabel("first direction (distance relative to the norm of the weights)", fontsize=8)
    bar = figure.colorbar(drawn, ax=axes, label="loss (nats)", format="%.2g")
    bar.ax.minorticks_off()
    return figure
