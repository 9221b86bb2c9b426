"""Focal loss's curvature in the logits relative to cross-entropy's, against its closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.analysis.theory import curvature_ratio
from focal_curvature.plotting.common import gamma_colours, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("predictions",), "order": 110}
LABELS = {
    "sample": "samples",
    "one": "closed form,\nrest on one class",
    "even": "closed form,\nrest shared evenly",
}
LOOKS = {
    "one": {"ls": "-", "lw": 0.9},
    "even": {"ls": "--", "lw": 0.7},
    "sample": {"ls": "", "marker": "o", "ms": 2.2, "mew": 0, "alpha": 0.6},
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return measured ratios and the closed form.

    Returns
    -------
    DataFrame
        ``model``, ``gamma``, ``log_odds`` of the true class, ``ratio``, and ``kind``: "sample", or
        a curve where 1 - p is all on "one" other class, or shared "even" by all.
    """
    samples = tables["predictions"]
    parts = [samples[["model", "gamma", "log_odds", "ratio"]].assign(kind="sample")]
    for (model, gamma), group in samples.groupby(["model", "gamma"], sort=False):
        odds = np.linspace(group["log_odds"].min(), group["log_odds"].max(), 200)
        log_p, log_q = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        classes = group["classes"].iloc[0]
        for kind, impurity in (("one", 0.0), ("even", (classes - 2) / (classes - 1))):
            ratio = curvature_ratio(log_p, log_q, impurity, gamma)
            curve = {"model": model, "gamma": gamma, "log_odds": odds, "ratio": ratio}
            parts.append(pd.DataFrame(curve).assign(kind=kind))
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model: samples as dots, the two extreme curves of each gamma as lines."""
    models = list(data["model"].unique())
    palette = gamma_colours(sorted(data["gamma"].unique()))
    figure, axes = panels([""], models, 2.8, sharex=True, sharey=True)
    for ax, model in zip(axes[0], models, strict=True):
        for gamma, group in data[data["model"] == model].groupby("gamma"):
            kinds = dict(iter(group.groupby("kind")))
            for kind, style in LOOKS.items():
                points = kinds[kind]
                text = f"{gamma:g}" if kind == "one" else None
                ax.plot(
                    points["log_odds"], points["ratio"], label=text, color=palette[gamma], **style
                )
        ax.axhline(0, color="0.6", lw=0.6, zorder=0)
        ax.set_yscale("symlog", linthresh=1e-3, linscale=0.8)
        ax.set_title(label(model))
        ax.set_xlabel("log-odds of the true class")
        ax.grid(axis="y")
    axes[0][0].set_ylabel("curvature of focal loss / cross-entropy")
    for kind, text in LABELS.items():
        axes[0][-1].plot([], [], color="0.3", label=text, **LOOKS[kind])
    handles, labels = axes[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, title="γ", loc="outside right center")
    return figure
