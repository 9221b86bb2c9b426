"""Curvature relative to that at gamma 0, in pairs of the same seed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting import curvature
from focal_curvature.plotting.common import (
    LOOKS,
    LOSS_LABELS,
    colours,
    legend_above,
    panels,
    plain_log_ticks,
    seeds_and_mean,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("runs",), "order": 25, "where": "of several gammas"}
MEASURES = {"top_eigenvalue": "top eigenvalue", "trace": "trace"}
RUN = ["model", "seed", "hessian_of"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run, loss and measure.

    Returns
    -------
    DataFrame
        model, seed, hessian_of, gamma, measure and ratio: the measure over that of the run with
        gamma 0 and the same seed. Without pairs in which either is not positive.
    """
    parts = []
    for measure in MEASURES:
        values = curvature.prepare(tables["runs"], measure).set_index([*RUN, "gamma"])[measure]
        values = values[values > 0]
        if 0 not in values.index.get_level_values("gamma"):
            continue
        ratio = values / values.xs(0, level="gamma").reindex(values.index.droplevel("gamma")).values
        parts.append(ratio.dropna().rename("ratio").reset_index().assign(measure=measure))
    columns = [*RUN, "gamma", "measure", "ratio"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per measure, a panel per model; one is the curvature at gamma 0."""
    models = list(data["model"].unique())
    palette = colours(list(LOSS_LABELS))
    figure, axes = panels(list(MEASURES), models, 2.0, sharex=True)
    for row, (measure, text) in zip(axes, MEASURES.items(), strict=True):
        for ax, model in zip(row, models, strict=True):
            ax.set_yscale("log")
            ax.axhline(1, color="0.4", lw=0.8, zorder=0)
            panel = data[(data["model"] == model) & (data["measure"] == measure)]
            for i, (loss, name) in enumerate(LOSS_LABELS.items()):
                series = panel[(panel["hessian_of"] == loss) & (panel["gamma"] > 0)]
                shift = 0.05 * (2 * i - 1)
                seeds_and_mean(ax, series, "ratio", palette[loss], name, shift, look=LOOKS[i])
            plain_log_ticks(ax.yaxis)
            ax.grid(axis="y", which="major")
        row[0].set_ylabel(f"{text}\nrelative to γ = 0")
    for top, bottom, model in zip(axes[0], axes[-1], models, strict=True):
        top.set_title(label(model))
        bottom.set_xlabel("focusing parameter γ")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, [f"Hessian of {text}" for text in labels])
    return figure
