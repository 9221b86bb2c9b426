"""Rise of the loss on a plane of two random directions, for the least and the largest gamma."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from focal_curvature.plotting.common import LOSS_LABELS, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("plane",), "order": 90}
DECADES = 3  # of the colour scale, below the largest rise


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per model, gamma, loss and point of the plane.

    Returns
    -------
    DataFrame
        The columns of ``plane.csv``, and ``rise``: the loss above the plane's least (nats).
    """
    plane = tables["plane"]
    least = plane.groupby(["model", "gamma", "hessian_of"])["loss"].transform("min")
    return plane.assign(rise=plane["loss"] - least)


def draw(data: pd.DataFrame) -> Figure:
    """Draw filled contours of the rise, a row of panels per loss, all on one colour scale."""
    # The gammas of a model's own: runs that diverged are not there.
    columns = [
        (model, gamma)
        for model, group in data.groupby("model", sort=False)
        for gamma in sorted(group["gamma"].unique())
    ]
    high = np.log10(data["rise"].max())
    levels = np.logspace(high - DECADES, high, 4 * DECADES + 1)
    figure, axes = panels(
        list(LOSS_LABELS), [str(c) for c in columns], 1.7, sharex=True, sharey=True
    )
    for row, loss in zip(axes, LOSS_LABELS, strict=True):
        for ax, (model, gamma) in zip(row, columns, strict=True):
            panel = data[
                (data["model"] == model) & (data["gamma"] == gamma) & (data["hessian_of"] == loss)
            ]
            grid = panel.pivot(index="y", columns="x", values="rise")
            drawn = ax.contourf(
                grid.columns,
                grid.index,
                grid.clip(lower=levels[0] / 2),  # a rise of 0 has no logarithm
                levels,
                norm=LogNorm(levels[0], levels[-1]),
                cmap="cividis",
                extend="min",
            )
            ax.plot(0, 0, "+", color="white", ms=5)
            ax.set_aspect("equal")
        row[0].set_ylabel(f"{LOSS_LABELS[loss]}\nsecond direction")
    for ax, (model, gamma) in zip(axes[0], columns, strict=True):
        ax.set_title(f"{label(model)}, γ = {gamma:g}")
    figure.supxlabel("first direction (distance relative to the norm of the weights)", fontsize=8)
    bar = figure.colorbar(drawn, ax=axes, label="rise of the loss (nats)", format="%.2g")
    bar.ax.minorticks_off()
    return figure
