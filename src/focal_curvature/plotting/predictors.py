"""What foretells calibration under an intervention that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import MARKERS, colours, legend_above, panels
from focal_curvature.registry import label
from focal_curvature.tables.predictors import ALL, OUTCOMES, PREDICTORS

PRODUCT = {"needs": ("predictors",), "order": 175}
NOTHING = ("no seed has all ways of training",)
COLUMNS = ["model", "outcome", "predictor", "intervention", "error", "error_low", "error_high"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return COLUMNS of the table of predictors (fractions)."""
    return tables["predictors"][COLUMNS]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and outcome: a line per predictor, the best of the gap's on top."""
    models = list(data["model"].unique())
    interventions = [name for name in data["intervention"].unique() if name != ALL]
    palette = colours(interventions)
    known = [name for name in PREDICTORS if name in set(data["predictor"])]
    figure, axes = panels(models, list(OUTCOMES), 0.6 + 0.17 * len(known), sharey="row")
    for row, model in zip(axes, models, strict=True):
        overall = data[(data["model"] == model) & (data["intervention"] == ALL)]
        first = overall[overall["outcome"] == next(iter(OUTCOMES))].set_index("predictor")["error"]
        order = list(first.sort_values().index)
        for ax, outcome in zip(row, OUTCOMES, strict=True):
            panel = data[(data["model"] == model) & (data["outcome"] == outcome)]
            for name, marker in zip(interventions, MARKERS * len(interventions), strict=False):
                part = panel[panel["intervention"] == name]
                ax.plot(
                    *(100 * part["error"], [order.index(p) for p in part["predictor"]], marker),
                    **{"color": palette[name], "ms": 3, "mec": "white", "mew": 0.3},
                    label=name.replace("_", " "),
                )
            mean = panel[panel["intervention"] == ALL]
            sides = mean["error"] - mean["error_low"], mean["error_high"] - mean["error"]
            ax.errorbar(
                *(100 * mean["error"], [order.index(p) for p in mean["predictor"]]),
                xerr=[100 * side.fillna(0) for side in sides],
                **{"fmt": "|", "color": "0.1", "ms": 9, "mew": 1.2, "capsize": 0},
                label="mean over interventions",
            )
            ax.set_xlim(left=0)
            ax.grid(axis="x")
        row[0].set_yticks(range(len(order)), [PREDICTORS[name][0] for name in order])
        row[0].set_ylim(len(order) - 0.5, -0.5)
        row[0].set_ylabel(label(model))
    for ax, outcome in zip(axes[-1], OUTCOMES.values(), strict=True):
        ax.set_xlabel(f"error in the {outcome.replace('Confidence', 'confidence')} (points)")
    legend_above(figure, *axes[0][0].get_legend_handles_labels())
    return figure
