"""Reliability diagrams across gamma."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import colours, legend_above, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("reliability",), "order": 50}
FEWEST = 20  # samples, over all seeds, for a bin to be shown: below, accuracy is noise
VARIANTS = {"before": "as trained", "after": "temperature-scaled"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Pool the bins of all seeds.

    Returns
    -------
    DataFrame
        A row per model, gamma, variant and bin of at least FEWEST samples: count and share of
        samples over all seeds, mean confidence and accuracy in the bin, lowest and highest accuracy
        of a seed.
    """
    keys = ["model", "gamma", "variant", "bin"]
    reliability = tables["reliability"]
    bins = reliability[
        reliability["gamma"].notna()
        & reliability["variant"].isin(list(VARIANTS))
        & (reliability["count"] > 0)
    ]
    weighted = bins.assign(
        confidence=bins["confidence"] * bins["count"],
        correct=bins["accuracy"] * bins["count"],
    )
    pooled = weighted.groupby(keys, sort=False).agg(
        count=("count", "sum"),
        confidence=("confidence", "sum"),
        correct=("correct", "sum"),
        lowest=("accuracy", "min"),
        highest=("accuracy", "max"),
        seeds=("seed", "nunique"),
    )
    pooled["confidence"] /= pooled["count"]
    pooled["accuracy"] = pooled.pop("correct") / pooled["count"]
    pooled["share"] = pooled["count"] / pooled.groupby(keys[:3])["count"].transform("sum")
    return pooled[pooled["count"] >= FEWEST].reset_index()


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and gamma: area of a dot is the share of samples in its bin."""
    models, gammas = list(data["model"].unique()), sorted(data["gamma"].unique())
    palette = colours(list(VARIANTS))
    figure, axes = panels(models, [f"{g:g}" for g in gammas], 1.7, sharex=True, sharey=True)
    for row, model in zip(axes, models, strict=True):
        for ax, gamma in zip(row, gammas, strict=True):
            ax.plot([0, 1], [0, 1], color="0.6", lw=0.6, zorder=0)
            for variant, text in VARIANTS.items():
                chosen = data[
                    (data["model"] == model)
                    & (data["gamma"] == gamma)
                    & (data["variant"] == variant)
                ].sort_values("bin")
                colour = palette[variant]
                ax.plot(chosen["confidence"], chosen["accuracy"], lw=0.8, color=colour)
                ax.scatter(
                    chosen["confidence"],
                    chosen["accuracy"],
                    s=2 + 40 * chosen["share"],
                    color=colour,
                    alpha=0.8,
                    lw=0,
                    label=text,
                )
            ax.set_aspect("equal")
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        row[0].set_ylabel(f"{label(model)}\naccuracy")
    for ax, gamma in zip(axes[0], gammas, strict=True):
        ax.set_title(f"γ = {gamma:g}")
    figure.supxlabel("confidence", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels, markerscale=1)
    return figure
