"""Calibration error against Hessian trace, coloured by gamma."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting import curvature
from focal_curvature.plotting.common import (
    LOSS_LABELS,
    focal_runs,
    gamma_colours,
    legend_above,
    panels,
    plain_log_ticks,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("runs",), "order": 30, "where": "of several gammas"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run and loss: model, gamma, seed, hessian_of, trace (nats), ece, floor."""
    keys = ["model", "gamma", "seed"]
    scores = focal_runs(tables["runs"])[[*keys, "ece", "noise_floor", "noise_floor_95"]]
    return curvature.prepare(tables["runs"], "trace").merge(scores, on=keys)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and loss: one dot per run, the noise floor as a band from zero."""
    models = list(data["model"].unique())
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels(models, list(LOSS_LABELS), 2.3, sharey="row")
    for row, model in zip(axes, models, strict=True):
        for ax, loss in zip(row, LOSS_LABELS, strict=True):
            panel = data[(data["model"] == model) & (data["hessian_of"] == loss)]
            floors = 100 * panel.groupby("gamma")["noise_floor_95"].mean()
            ax.axhspan(0, floors.min(), color="0.88", lw=0, label="calibrated networks")
            ax.axhspan(floors.min(), floors.max(), color="0.94", lw=0)
            for gamma, group in panel.groupby("gamma"):
                ax.plot(
                    group["trace"],
                    100 * group["ece"],
                    "o",
                    color=palette[gamma],
                    mec="white",
                    mew=0.3,
                    label=f"γ = {gamma:g}",
                )
            ax.set_xscale("log" if (panel["trace"] > 0).all() else "symlog")
            if ax.get_xscale() == "log":
                plain_log_ticks(ax.xaxis)
            ax.grid(axis="y")
        row[0].set_ylim(bottom=0)
        row[0].set_ylabel(f"{label(model)}\nECE (%)")
    for ax, loss in zip(axes[-1], LOSS_LABELS, strict=True):
        ax.set_xlabel(f"trace of the Hessian, {LOSS_LABELS[loss]} (nats)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure
