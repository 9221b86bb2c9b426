"""Tails of the Hessian's spectrum across gamma: how many eigenvalues are how large."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.plotting.common import LOSS_LABELS, gamma_colours, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("spectrum",), "order": 70}
MAGNITUDES = np.logspace(-4, 3, 141)  # nats
SIGNS = {"positive": "-", "negative": "--"}
KEYS = ["model", "hessian_of", "gamma", "seed"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Count the quadrature's nodes beyond each magnitude: nothing is smoothed.

    Returns
    -------
    DataFrame
        KEYS, ``sign``, ``magnitude`` (nats) and ``share``: of the eigenvalues that have this sign
        and a larger magnitude, mean over probes; without rows where there are none.
    """
    columns = [*KEYS, "sign", "magnitude", "share"]
    tails = []
    for key, nodes in tables["spectrum"].groupby(KEYS, sort=False):
        for sign, factor in zip(SIGNS, (1, -1), strict=True):
            beyond = factor * nodes["eigenvalue"].to_numpy() > MAGNITUDES[:, None]
            share = beyond @ nodes["weight"].to_numpy() / nodes["probe"].nunique()
            tails += [
                (*key, sign, magnitude, part)
                for magnitude, part in zip(MAGNITUDES, share, strict=True)
                if part > 0
            ]
    return pd.DataFrame(tails, columns=columns)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and loss, a line per gamma and sign."""
    models = list(data["model"].unique())
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels(models, list(LOSS_LABELS), 2.0, sharex="col", sharey="row")
    for row, model in zip(axes, models, strict=True):
        for ax, loss in zip(row, LOSS_LABELS, strict=True):
            panel = data[(data["model"] == model) & (data["hessian_of"] == loss)]
            for (gamma, sign), tail in panel.groupby(["gamma", "sign"]):
                ax.plot(tail["magnitude"], tail["share"], SIGNS[sign], color=palette[gamma])
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_title(f"{label(model)}, Hessian of {LOSS_LABELS[loss]}")
            ax.grid(axis="both", which="major")
        row[0].set_ylabel("share of eigenvalues\nbeyond this magnitude")
    for ax in axes[-1]:
        ax.set_xlabel("magnitude of the eigenvalue (nats)")
    lines = [Line2D([], [], color=palette[gamma], label=f"γ = {gamma:g}") for gamma in palette]
    lines += [Line2D([], [], color="0.3", ls=style, label=sign) for sign, style in SIGNS.items()]
    figure.legend(handles=lines, loc="outside right center")
    return figure
