"""A curvature measure against gamma, by the loss whose Hessian it is of."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import (
    LOOKS,
    LOSS_LABELS,
    colours,
    focal_runs,
    legend_above,
    panels,
    plain_log_ticks,
    seeds_and_mean,
)
from focal_curvature.registry import label


def prepare(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return a row per run and loss: model, gamma, seed, hessian_of, ``measure`` (nats)."""
    focal = focal_runs(runs)
    return pd.concat(
        [
            focal[["model", "gamma", "seed"]].assign(
                hessian_of=loss, **{measure: focal[f"{measure}_{loss}"]}
            )
            for loss in LOSS_LABELS
        ],
        ignore_index=True,
    )


def draw(data: pd.DataFrame, measure: str, text: str) -> Figure:
    """Draw one panel per model; the scale is logarithmic unless a value is not positive."""
    models = list(data["model"].unique())
    palette = colours(list(LOSS_LABELS))
    figure, axes = panels([""], models, 2.5)
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_yscale("log" if (data.loc[data["model"] == model, measure] > 0).all() else "symlog")
        for i, (loss, text_of) in enumerate(LOSS_LABELS.items()):
            panel = data[(data["model"] == model) & (data["hessian_of"] == loss)]
            shift = 0.05 * (2 * i - 1)
            seeds_and_mean(ax, panel, measure, palette[loss], text_of, shift, look=LOOKS[i])
        if ax.get_yscale() == "log":
            plain_log_ticks(ax.yaxis)
        ax.set_title(label(model))
        ax.set_xlabel("focusing parameter γ")
        ax.grid(axis="y", which="major")
    axes[0][0].set_ylabel(text)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, [f"Hessian of {name}" for name in labels])
    return figure
