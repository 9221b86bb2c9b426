"""What an arm does to the two parts of the NLL: calibration against refinement."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from focal_curvature.plotting import arms
from focal_curvature.plotting.common import bound_axis, legend_above, panels
from focal_curvature.registry import label

PRODUCT = {"needs": ("runs",), "order": 165, "where": "of several gammas"}
PARTS = {
    "nll_refinement": "refinement: NLL after recalibration (nats)",
    "nll_calibration": "calibration: the rest of the NLL (nats)",
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per completed run: model, family, name, objective, seed, both parts (nats)."""
    runs = arms.classified(tables["runs"])
    return runs[["model", "family", "name", "objective", "seed", *PARTS]].dropna()


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model: an arrow per arm from cross-entropy's mean to the arm's.

    Below and to the left is better. Small dots are seeds. Without cross-entropy, no arrows.
    """
    models = list(data["model"].unique())
    palette = arms.arm_colours(data["name"])
    x, y = PARTS
    figure, axes = panels([""], models, 2.9)
    for ax, model in zip(axes[0], models, strict=True):
        panel = data[data["model"] == model]
        means = panel.groupby(["family", "name", "objective"], sort=False)[[x, y]].mean()
        plain = means[means.index.get_level_values("family") == "cross-entropy"]
        for (family, name, _), mean in means.iterrows():
            marker = arms.MARKERS[family]
            ax.plot(mean[x], mean[y], marker, ms=4, color=palette[name], mec="0.2", mew=0.3)
            if family != "cross-entropy" and len(plain):
                ends = {
                    "posA": tuple(plain.iloc[0]),
                    "posB": tuple(mean),
                    "shrinkA": 3,
                    "shrinkB": 3,
                }
                look = {"arrowstyle": "-|>", "mutation_scale": 6, "lw": 0.7}
                ax.add_artist(FancyArrowPatch(**ends, **look, color=palette[name]))
        for name, seeds in panel.groupby("name"):
            ax.plot(seeds[x], seeds[y], ".", ms=2, mew=0, alpha=0.5, color=palette[name])
        bound_axis(ax, panel, y, x, "objective", along="x")
        ax.set_title(label(model))
        ax.grid()
    figure.supxlabel(PARTS[x], fontsize=8)
    axes[0][0].set_ylabel(PARTS[y])
    shown = data[["family", "name"]].drop_duplicates()
    for family, name in shown.itertuples(index=False):
        axes[0][0].plot([], [], arms.MARKERS[family], color=palette[name], label=label(name))
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure
