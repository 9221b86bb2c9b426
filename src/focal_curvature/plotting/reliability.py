"""Reliability diagrams across gamma, each above a histogram of confidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import special

from focal_curvature.plotting.common import LOOKS, colours, legend_above, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("reliability",), "order": 50}
FEWEST = 20  # samples, over all seeds, for a bin to be shown: below, accuracy is noise
SHOWN = 4  # gammas at most, for panels that can be read
VARIANTS = {"before": "as trained", "after": "temperature-scaled"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Pool the bins of all seeds.

    Returns
    -------
    DataFrame
        A row per model, gamma, variant and bin of at least FEWEST samples: count and share of
        samples over all seeds, mean confidence and accuracy in the bin, lowest and highest accuracy
        of a seed, upper end of the bin (not in earlier experiments); low and high, the accuracy's
        95% interval, NaN for one seed. Seeds share their test images, so that the seed is the unit:
        the interval is that of a ratio of sums over clusters (Cochran 1977, Sampling Techniques,
        2.11), Student's t.
    """
    keys = ["model", "gamma", "variant", "bin"]
    reliability = tables["reliability"]
    bins = reliability[
        reliability["gamma"].notna()
        & reliability["variant"].isin(list(VARIANTS))
        & (reliability["count"] > 0)
    ]
    n, correct = bins["count"], bins["accuracy"] * bins["count"]
    weighted = bins.assign(confidence=bins["confidence"] * n, correct=correct)
    weighted = weighted.assign(squares=correct**2, products=correct * n, counts=n**2)
    pooled = weighted.groupby(keys, sort=False).agg(
        count=("count", "sum"),
        confidence=("confidence", "sum"),
        correct=("correct", "sum"),
        lowest=("accuracy", "min"),
        highest=("accuracy", "max"),
        seeds=("seed", "nunique"),
        squares=("squares", "sum"),
        products=("products", "sum"),
        counts=("counts", "sum"),
        **({"upper": ("upper", "first")} if "upper" in bins else {}),
    )
    pooled["confidence"] /= pooled["count"]
    accuracy = pooled.pop("correct") / pooled["count"]
    squares, products, counts = (pooled.pop(name) for name in ("squares", "products", "counts"))
    # Sum over seeds of the squares of correct - accuracy * count, none below zero by rounding.
    residual = (squares - 2 * accuracy * products + accuracy**2 * counts).clip(lower=0)
    seeds = pooled["seeds"].where(pooled["seeds"] > 1)
    error = np.sqrt(seeds / (seeds - 1) * residual) / pooled["count"]
    half = error * special.stdtrit(seeds - 1, 0.975)
    pooled = pooled.assign(accuracy=accuracy, low=accuracy - half, high=accuracy + half)
    pooled["share"] = pooled["count"] / pooled.groupby(keys[:3])["count"].transform("sum")
    return pooled[pooled["count"] >= FEWEST].reset_index()


def draw(data: pd.DataFrame) -> Figure:
    """Draw a column per gamma, SHOWN of them, the least and the largest among these."""
    models, gammas = list(data["model"].unique()), sorted(data["gamma"].unique())
    places = np.linspace(0, len(gammas) - 1, min(SHOWN, len(gammas))).round().astype(int)
    gammas = [gammas[i] for i in places]
    palette = colours(list(VARIANTS))
    # Earlier tables do not say where bins end, but their mean confidences lie within.
    ends = data["upper"] if "upper" in data else data["confidence"]
    bins = int(((data["bin"] + 1) / ends).min() + 1e-9)
    rows = [row for model in models for row in (model, f"{model} histogram")]
    heights = [2, 0.7] * len(models)
    figure, axes = panels(
        rows, [f"{g:g}" for g in gammas], 1.3, sharex=True, sharey="row", height_ratios=heights
    )
    for above, below, model in zip(axes[::2], axes[1::2], models, strict=True):
        for ax, histogram, gamma in zip(above, below, gammas, strict=True):
            ax.plot([0, 1], [0, 1], color="0.6", lw=0.6, zorder=0)
            for look, (variant, text) in enumerate(VARIANTS.items()):
                panel = data[(data["model"] == model) & (data["gamma"] == gamma)]
                panel = panel[panel["variant"] == variant].sort_values("bin")
                accuracy = panel["accuracy"]
                # Earlier tables have the extremes alone.
                low, high = (
                    panel[name if name in panel else other].fillna(accuracy)
                    for name, other in (("low", "lowest"), ("high", "highest"))
                )
                ax.errorbar(
                    panel["confidence"],
                    accuracy,
                    yerr=[accuracy - low, high - accuracy],
                    ms=2.2,
                    lw=0.8,
                    elinewidth=0.6,
                    label=text,
                    color=palette[variant],
                    **LOOKS[look],
                )
                left = (panel["bin"] + (0.05, 0.5)[look]) / bins
                width = 0.45 / bins
                histogram.bar(
                    left, 100 * panel["share"], width, align="edge", color=palette[variant]
                )
            # Of one width: each bar stands under its point.
            ax.set_box_aspect(1)
            histogram.set_box_aspect(heights[1] / heights[0])
            histogram.tick_params(labelbottom=True)
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 1)
            ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
            histogram.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        above[0].set_ylabel(f"{label(model)}\naccuracy")
        below[0].set_ylabel("share (%)")
    for ax, gamma in zip(axes[0], gammas, strict=True):
        ax.set_title(f"γ = {gamma:g}")
    figure.supxlabel("confidence", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure
