"""Training curves by gamma: fit and calibration over epochs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.analysis.summary import interval
from focal_curvature.plotting.common import (
    FEWEST_JOINED,
    focal_runs,
    gamma_colours,
    legend_above,
    panels,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("histories", "runs"), "order": 45, "where": "followed"}
# Column -> label of its row of panels, and the factor to its unit.
SHOWN = {
    "train_accuracy": ("training\naccuracy (%)", 100),
    "validation_accuracy": ("validation\naccuracy (%)", 100),
    "validation_nll": ("validation\nNLL (nats)", 1),
    "validation_ece": ("validation\nECE (%)", 100),
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per model, gamma, quantity and epoch that all its completed seeds have.

    Without rows of a model and gamma that were evaluated once.

    Returns
    -------
    DataFrame
        model, gamma, quantity (a key of SHOWN), epoch, mean, low and high (95% interval over
        seeds), seeds. Runs of focal loss alone, gamma 0 being cross-entropy.
    """
    runs = focal_runs(tables["runs"])[["model", "objective", "seed", "gamma"]]
    epochs = tables["histories"].merge(runs, on=["model", "objective", "seed"])
    epochs = epochs[epochs.groupby(["model", "gamma"])["epoch"].transform("nunique") > 1]
    rows = []
    for (model, gamma, epoch), group in epochs.groupby(["model", "gamma", "epoch"], sort=False):
        for quantity in SHOWN:
            mean, low, high = interval(group[quantity].dropna())
            rows.append((model, gamma, quantity, epoch, mean, low, high, len(group)))
    names = ("model", "gamma", "quantity", "epoch", "mean", "low", "high", "seeds")
    return pd.DataFrame(rows, columns=list(names)).dropna(subset="mean")


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per quantity, a column per model; a line per gamma with its interval."""
    models, gammas = list(data["model"].unique()), sorted(data["gamma"].unique())
    palette = gamma_colours(gammas)
    styles = dict(zip(gammas, ("-", "--", "-.", ":") * len(gammas), strict=False))
    figure, axes = panels(list(SHOWN), models, 1.5, sharex=True, sharey="row")
    for row, (quantity, (text, factor)) in zip(axes, SHOWN.items(), strict=True):
        for ax, model in zip(row, models, strict=True):
            panel = data[(data["model"] == model) & (data["quantity"] == quantity)]
            for gamma, curve in panel.groupby("gamma"):
                curve = curve.sort_values("epoch")
                ends = factor * curve[["low", "high"]].T.to_numpy()
                ax.fill_between(curve["epoch"], *ends, color=palette[gamma], alpha=0.2, lw=0)
                ax.plot(
                    curve["epoch"],
                    factor * curve["mean"],
                    styles[gamma] if len(curve) >= FEWEST_JOINED else "o",
                    lw=1,
                    color=palette[gamma],
                )
            ax.grid(axis="y")
        row[0].set_ylabel(text)
    for top, bottom, model in zip(axes[0], axes[-1], models, strict=True):
        top.set_title(label(model))
        bottom.set_xlabel("epoch")
    lines = [
        Line2D([], [], color=palette[gamma], ls=styles[gamma], label=f"γ = {gamma:g}")
        for gamma in gammas
    ]
    legend_above(figure, lines, [line.get_label() for line in lines])
    return figure
