"""Spectral density of the Hessian across gamma."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import LOSS_LABELS, gamma_colours, panels

SMALL = 1e-2  # nats: below, the axis is linear, above logarithmic
WIDTH = 0.3  # of the Gaussian around each node, in units of asinh(eigenvalue / SMALL)
KEYS = ["model", "hessian_of", "gamma", "seed"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Smooth the quadrature's nodes on a grid that is linear around zero and logarithmic beyond.

    Returns
    -------
    DataFrame
        KEYS, ``eigenvalue`` (nats) and ``density``: share of eigenvalues per unit of
        asinh(eigenvalue / SMALL), mean over probes.
    """
    nodes = tables["spectrum"]
    if nodes.empty:
        return pd.DataFrame(columns=[*KEYS, "eigenvalue", "density"])
    nodes = nodes.assign(place=np.arcsinh(nodes["eigenvalue"] / SMALL))
    ends = nodes["place"].min() - 4 * WIDTH, nodes["place"].max() + 4 * WIDTH
    grid = np.linspace(*ends, 300)
    smoothed = []
    for key, group in nodes.groupby(KEYS, sort=False):
        bumps = np.exp(-(((grid[:, None] - group["place"].to_numpy()) / WIDTH) ** 2) / 2)
        bumps /= WIDTH * np.sqrt(2 * np.pi) * group["probe"].nunique()
        smoothed.append(
            pd.DataFrame(
                dict(zip(KEYS, key, strict=True))
                | {"eigenvalue": SMALL * np.sinh(grid), "density": bumps @ group["weight"]}
            )
        )
    return pd.concat(smoothed, ignore_index=True)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and loss, a line per gamma."""
    models = list(data["model"].unique())
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels(models, list(LOSS_LABELS), 2.0, sharex=True, sharey=True)
    for row, model in zip(axes, models, strict=True):
        for ax, loss in zip(row, LOSS_LABELS, strict=True):
            chosen = data[(data["model"] == model) & (data["hessian_of"] == loss)]
            for gamma, group in chosen.groupby("gamma"):
                ax.plot(
                    group["eigenvalue"], group["density"], color=palette[gamma], label=f"{gamma:g}"
                )
            ax.set_xscale("symlog", linthresh=SMALL, linscale=0.7)
            ax.set_yscale("log")
            ax.set_ylim(1e-6, 10)
            ax.set_title(f"{model}, {LOSS_LABELS[loss]}")
        row[0].set_ylabel("density")
    for ax in axes[-1]:
        ax.set_xlabel("eigenvalue of the Hessian (nats)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, title="γ", loc="outside right center")
    return figure
