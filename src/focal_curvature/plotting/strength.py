"""Curvature, calibration error and accuracy against the strength of a penalty."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.analysis.summary import interval
from focal_curvature.plotting.arms import arm_colours
from focal_curvature.plotting.common import (
    LOOKS,
    bound_axis,
    legend_above,
    panels,
    plain_log_ticks,
    seeds_and_mean,
)
from focal_curvature.registry import about, label

PRODUCT = {"needs": ("runs",), "order": 150, "where": "regularised"}
MEASURES = {"trace": "Hessian trace (nats)", "ece": "ECE (%)", "accuracy": "accuracy (%)"}
PLAIN = "plain cross-entropy"


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run of cross-entropy, plain or with a penalty that has a strength.

    Returns
    -------
    DataFrame
        model, arm (the penalty, or PLAIN), strength (NaN for PLAIN), seed, trace of the Hessian of
        cross-entropy (nats), ece, its noise_floor, and accuracy (fractions).
    """
    runs = tables["runs"]
    known = about("regularisers")
    # SAM has a radius, which is no strength to be laid on the same axis.
    others = [name for name in known if "strength" not in known[name].get("parameters", {})]
    penalised = runs["regulariser"].notna() & ~runs["regulariser"].isin(others)
    plain = runs["regulariser"].isna() & (runs["gamma"] == 0)
    wanted = plain | penalised & (runs["loss"] == "cross_entropy")
    names = {"regulariser": "arm", "trace_cross_entropy": "trace"}
    columns = ["model", "arm", "strength", "seed", "trace", "ece", "noise_floor", "accuracy"]
    rows = runs[(runs["status"] == "completed") & wanted].rename(columns=names)
    # Earlier tables have no accuracy.
    return rows[[name for name in columns if name in rows]].fillna({"arm": PLAIN})


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per measure: seeds, means, 95% intervals; cross-entropy's as a band."""
    measures = {key: MEASURES[key] for key in MEASURES if key in data}
    shares = [column for column in ("ece", "noise_floor", "accuracy") if column in data]
    data = data.assign(**{column: 100 * data[column] for column in shares})
    models = list(data["model"].unique())
    arms = sorted(set(data["arm"]) - {PLAIN})
    palette = arm_colours(arms)
    figure, axes = panels(list(measures), models, 1.9, sharex=True)
    for row, (measure, text) in zip(axes, measures.items(), strict=True):
        for ax, model in zip(row, models, strict=True):
            panel = data[data["model"] == model].dropna(subset=[measure])
            ax.set_xscale("log")
            if measure == "trace" and (panel["trace"] > 0).all():
                ax.set_yscale("log")
            plain = panel.loc[panel["arm"] == PLAIN, measure]
            mean, low, high = interval(plain)
            ax.axhline(mean, color="0.4", lw=0.8, label=PLAIN)
            if np.isfinite(low):
                ax.axhspan(low, high, color="0.88", lw=0)
            if measure == "ece":
                floor = panel["noise_floor"].mean()
                ax.axhline(floor, color="0.4", ls="--", lw=0.8, label="ECE of a calibrated model")
                bound_axis(ax, panel, "strength", "ece", ["arm", "strength"])
                ax.set_ylim(bottom=0)
            shifts = np.linspace(-0.1, 0.1, len(arms) + 2)[1:-1]
            for i, (shift, arm) in enumerate(zip(shifts, arms, strict=True)):
                seeds_and_mean(
                    ax,
                    panel[panel["arm"] == arm],
                    measure,
                    palette[arm],
                    label(arm),
                    shift,
                    level="strength",
                    look=LOOKS[i % len(LOOKS)],
                )
            # Not left to matplotlib, which has no range for a single strength.
            ax.set_xlim(data["strength"].min() / 2, 2 * data["strength"].max())
            if measure == "accuracy":
                bound_axis(ax, panel, "strength", measure, ["arm", "strength"], best=100.0)
                ax.set_ylim(top=min(ax.get_ylim()[1], 100))
            if ax.get_yscale() == "log":
                bound_axis(ax, panel, "strength", measure, ["arm", "strength"])
                plain_log_ticks(ax.yaxis)
            ax.grid(axis="y")
        row[0].set_ylabel(text)
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(label(model))
    for ax in axes[-1]:
        ax.set_xlabel("strength of the penalty")
    handles, labels = axes[1][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure
