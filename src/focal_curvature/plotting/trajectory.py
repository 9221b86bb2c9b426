"""Curvature and calibration error along training."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import (
    gamma_colours,
    legend_above,
    objective_label,
    panels,
    plain_log_ticks,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("trajectory",), "order": 140}
# Column -> label of its row of panels.
SHOWN = {
    "trace_objective": "trace, objective\n(nats)",
    "trace_cross_entropy": "trace, CE\n(nats)",
    "top_eigenvalue_gauss_newton_cross_entropy": "λ$_{max}$, Gauss-Newton,\nCE (nats)",
    # How far the training images are fitted: a penalty that flattens may only stop that early.
    "train_accuracy": "training\naccuracy (%)",
    "validation_ece": "validation\nECE (%)",
}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run and measured epoch.

    Columns: model, objective, seed, same_weights, epoch, and those of SHOWN.
    """
    return tables["trajectory"][["model", "objective", "seed", "same_weights", "epoch", *SHOWN]]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per quantity, a column per model, a line per run.

    Dashed: the run ended with other weights than the one that it repeats.
    """
    models = list(data["model"].unique())
    # In the order of the configuration: by gamma, where that is how they are listed.
    palette = gamma_colours(list(data["objective"].unique()))
    figure, axes = panels(list(SHOWN), models, 1.5, sharex=True, sharey="row")
    for row, (column, text) in zip(axes, SHOWN.items(), strict=True):
        factor = 100 if column.endswith(("ece", "accuracy")) else 1
        for ax, model in zip(row, models, strict=True):
            panel = data[data["model"] == model]
            for (objective, _), run in panel.groupby(["objective", "seed"], sort=False):
                ax.plot(
                    run["epoch"],
                    factor * run[column],
                    "o-" if run["same_weights"].all() else "o--",
                    ms=2.5,
                    color=palette[objective],
                    label=objective_label(objective),
                )
            ax.grid(axis="y")
        if factor == 1:
            row[0].set_yscale("log" if (data[column].dropna() > 0).all() else "symlog")
        if row[0].get_yscale() == "log":
            plain_log_ticks(row[0].yaxis)
        row[0].set_ylabel(text)
    for top, bottom, model in zip(axes[0], axes[-1], models, strict=True):
        top.set_title(label(model))
        bottom.set_xlabel("epoch")
    handles, labels = axes[0][0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    # Names of penalised objectives are long.
    legend_above(figure, list(unique.values()), list(unique))
    return figure
