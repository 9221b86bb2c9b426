"""Calibration error against gamma, before and after temperature scaling, with its noise floor."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import (
    LOOKS,
    colours,
    focal_runs,
    panels,
    seeds_and_mean,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("runs",), "order": 40, "where": "of several gammas"}
SERIES = {"ece": "as trained", "ece_scaled": "temperature-scaled"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run: model, gamma, seed, and as fractions the errors and their floors."""
    columns = ["model", "gamma", "seed", *SERIES, "noise_floor", "noise_floor_scaled"]
    return focal_runs(tables["runs"])[columns]


def draw(data: pd.DataFrame) -> Figure:
    """Draw one panel per model in percent: seeds, mean and 95% interval; the floor dotted."""
    models = list(data["model"].unique())
    percent = data.assign(**{c: 100 * data[c] for c in data if "ece" in c or "noise" in c})
    palette = colours(list(SERIES))
    figure, axes = panels([""], models, 2.5, sharey=True)
    for ax, model in zip(axes[0], models, strict=True):
        panel = percent[percent["model"] == model]
        for i, (series, text) in enumerate(SERIES.items()):
            shift = 0.05 * (2 * i - 1)
            seeds_and_mean(ax, panel, series, palette[series], text, shift, look=LOOKS[i])
            means = panel.groupby("gamma")[series.replace("ece", "noise_floor")].mean()
            ax.plot(means.index, means, ":", lw=0.8, color=palette[series])
        ax.plot([], [], ":", lw=0.8, color="0.4", label="ECE of a calibrated model")
        ax.set_title(label(model))
        ax.set_xlabel("focusing parameter γ")
        ax.grid(axis="y")
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("ECE (%)")
    axes[0][0].legend()
    return figure
