"""Calibration error against each measure of curvature, under either loss."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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

PRODUCT = {"needs": ("runs",), "order": 35, "where": "of several gammas"}
MEASURES = {
    "top_eigenvalue": "top eigenvalue (nats)",
    "trace": "trace (nats)",
    "adaptive_sharpness": "adaptive sharpness (nats)",
}
KEYS = ["model", "gamma", "seed"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run, loss and measure: KEYS, hessian_of, measure, value (nats), ece."""
    scores = focal_runs(tables["runs"])[[*KEYS, "ece"]]
    parts = [
        curvature.prepare(tables["runs"], measure)
        .rename(columns={measure: "value"})
        .assign(measure=measure)
        for measure in MEASURES
    ]
    return pd.concat(parts, ignore_index=True).merge(scores, on=KEYS).dropna()


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per model and loss, a column per measure: a dot per run."""
    rows = [(model, loss) for model in data["model"].unique() for loss in LOSS_LABELS]
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels([" ".join(row) for row in rows], list(MEASURES), 1.7, sharey="row")
    for line, (model, loss) in zip(axes, rows, strict=True):
        for ax, measure in zip(line, MEASURES, strict=True):
            panel = data[
                (data["model"] == model)
                & (data["hessian_of"] == loss)
                & (data["measure"] == measure)
            ]
            for gamma, group in panel.groupby("gamma"):
                ax.plot(group["value"], 100 * group["ece"], "o", ms=3, mew=0, color=palette[gamma])
            ax.set_xscale("log" if (panel["value"] > 0).all() else "symlog")
            if ax.get_xscale() == "log":
                plain_log_ticks(ax.xaxis)
            ax.grid(axis="y")
        line[0].set_ylim(bottom=0)
        line[0].set_ylabel(f"{label(model)}\n{LOSS_LABELS[loss]}\nECE (%)")
    for ax, text in zip(axes[-1], MEASURES.values(), strict=True):
        ax.set_xlabel(text)
    dots = [
        Line2D([], [], marker="o", ls="", ms=3, color=colour, label=f"γ = {gamma:g}")
        for gamma, colour in palette.items()
    ]
    legend_above(figure, dots, [dot.get_label() for dot in dots])
    return figure
