"""Curvature and calibration error against the strength of a penalty."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.analysis.summary import interval
from focal_curvature.plotting.common import colours, panels, plain_log_ticks
from focal_curvature.registry import label as arm_label

PRODUCT = {"needs": ("runs",), "order": 150, "where": "regularised"}
MEASURES = {"trace": "Hessian trace (nats)", "ece": "ECE (%)"}
PLAIN = "plain cross-entropy"


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per penalised run and per plain cross-entropy run.

    Returns
    -------
    DataFrame
        model, arm (the penalty, or PLAIN), strength (NaN for PLAIN), seed, trace of the Hessian of
        cross-entropy (nats), ece and its noise_floor (fractions).
    """
    runs = tables["runs"]
    plain = (runs["gamma"] == 0) & runs["regulariser"].isna()
    penalised = runs["regulariser"].notna() & (runs["loss"] == "cross_entropy")
    chosen = runs[(runs["status"] == "completed") & (plain | penalised)]
    return chosen.assign(
        arm=chosen["regulariser"].fillna(PLAIN),
        trace=chosen["trace_cross_entropy"],
    )[["model", "arm", "strength", "seed", "trace", "ece", "noise_floor"]]


def draw(data: pd.DataFrame) -> Figure:
    """Draw trace and ECE by model: seeds, means and 95% intervals; cross-entropy's as a band."""
    data = data.assign(ece=100 * data["ece"], noise_floor=100 * data["noise_floor"])
    models = list(data["model"].unique())
    arms = sorted(set(data["arm"]) - {PLAIN})
    palette = colours(arms)
    figure, axes = panels(list(MEASURES), models, 2.2, sharex=True, sharey="row")
    for row, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for ax, model in zip(row, models, strict=True):
            own = data[data["model"] == model]
            mean, low, high = interval(own.loc[own["arm"] == PLAIN, measure].dropna())
            ax.axhline(mean, color="0.4", lw=0.8, label=PLAIN)
            if np.isfinite(low):
                ax.axhspan(low, high, color="0.88", lw=0)
            if measure == "ece":
                floor = own["noise_floor"].mean()
                ax.axhline(floor, color="0.4", ls="--", lw=0.8, label="ECE of a calibrated model")
            for shift, arm in zip(np.linspace(-1, 1, len(arms) + 2)[1:-1], arms, strict=True):
                chosen = own[own["arm"] == arm].dropna(subset=[measure])
                place = 10 ** (np.log10(chosen["strength"]) + 0.1 * shift)
                ax.plot(place, chosen[measure], "o", ms=2.2, mew=0, alpha=0.6, color=palette[arm])
                groups = chosen[measure].groupby(place)
                found = np.array([interval(values) for _, values in groups]).reshape(-1, 3)
                ax.errorbar(
                    list(groups.groups),
                    found[:, 0],
                    yerr=np.nan_to_num([found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]]),
                    color=palette[arm],
                    marker="o",
                    ms=3,
                    capsize=2,
                    elinewidth=0.8,
                    label=arm_label(arm),
                )
            ax.set_xscale("log")
            # Not left to matplotlib, which has no range for a single strength.
            ax.set_xlim(data["strength"].min() / 2, 2 * data["strength"].max())
            ax.grid(axis="y")
        if measure == "trace" and (data["trace"].dropna() > 0).all():
            row[0].set_yscale("log")
            plain_log_ticks(row[0].yaxis)
        row[0].set_ylabel(label)
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(model)
    for ax in axes[-1]:
        ax.set_ylim(bottom=0)
        ax.set_xlabel("strength of the penalty (SAM: radius)")
    handles, labels = axes[-1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure
