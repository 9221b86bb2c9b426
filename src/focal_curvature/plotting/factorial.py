"""Gamma and flattening set apart: calibration against curvature over strengths of a penalty."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.plotting.common import (
    LOSS_LABELS,
    MARKERS,
    gamma_colours,
    legend_above,
    panels,
    plain_log_ticks,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("runs",), "order": 155, "where": "regularised"}
# Column -> label and the factor to its unit.
OUTCOMES = {"confidence_gap": ("confidence gap (points)", 100), "ece": ("ECE (%)", 100)}
KEYS = ["model", "penalty", "gamma", "strength"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per completed run of focal loss, alone or with a penalty, and per loss.

    Returns
    -------
    DataFrame
        KEYS (runs without a penalty stand beside each, with a strength of 0; cross-entropy has
        gamma 0), seed, hessian_of, trace (nats) and the keys of OUTCOMES (fractions).
    """
    runs = tables["runs"]
    runs = runs[(runs["status"] == "completed") & runs["loss"].isin(["focal", "cross_entropy"])]
    outcomes = [name for name in OUTCOMES if name in runs]  # earlier tables: ECE alone
    parts = []
    for loss in LOSS_LABELS:
        traces = {"hessian_of": loss, "trace": runs[f"trace_{loss}"]}
        kept = runs[["model", "regulariser", "strength", "seed", *outcomes]]
        parts.append(kept.assign(gamma=runs["gamma"].fillna(0), **traces))
    both = pd.concat(parts).rename(columns={"regulariser": "penalty"})
    alone = both[both["penalty"].isna()].assign(strength=0.0).drop(columns="penalty")
    penalised = both[both["penalty"].notna()]
    beside = alone.merge(penalised[["model", "penalty"]].drop_duplicates(), on="model")
    columns = [*KEYS, "seed", "hessian_of", "trace", *outcomes]
    return pd.concat([beside, penalised], ignore_index=True)[columns].dropna(subset="trace")


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per model and penalty, a column per outcome and loss.

    A mark is the median over the seeds of a gamma and a strength, its bars their quartiles: some
    runs fail to learn. A line goes from no penalty, the large mark, to the strongest.
    """
    rows = list(data[["model", "penalty"]].drop_duplicates().itertuples(index=False))
    columns = [(outcome, loss) for outcome in OUTCOMES if outcome in data for loss in LOSS_LABELS]
    several = data["penalty"].nunique() > 1
    gammas = sorted(data["gamma"].unique())
    palette = gamma_colours(gammas)
    markers = dict(zip(gammas, MARKERS * len(gammas), strict=False))
    figure, axes = panels([" ".join(r) for r in rows], [" ".join(c) for c in columns], 1.75)
    for line, (model, penalty) in zip(axes, rows, strict=True):
        for ax, (outcome, loss) in zip(line, columns, strict=True):
            text, factor = OUTCOMES[outcome]
            panel = data[
                (data["model"] == model)
                & (data["penalty"] == penalty)
                & (data["hessian_of"] == loss)
            ]
            for gamma, group in panel.groupby("gamma"):
                quartiles = group.groupby("strength")[["trace", outcome]].quantile(
                    [0.25, 0.5, 0.75]
                )
                (left, x, right), (low, y, high) = (
                    [scale * quartiles[name].xs(q, level=1) for q in (0.25, 0.5, 0.75)]
                    for name, scale in (("trace", 1), (outcome, factor))
                )
                style = {"color": palette[gamma], "marker": markers[gamma]}
                bars = {"xerr": [x - left, right - x], "yerr": [y - low, high - y]}
                ax.errorbar(x, y, **bars, ms=2.5, lw=0.8, elinewidth=0.5, **style)
                ax.plot(x.iloc[:1], y.iloc[:1], ms=5, mec="0.2", mew=0.4, ls="", **style)
            ax.set_xscale("log" if (panel["trace"] > 0).all() else "symlog")
            if ax.get_xscale() == "log":
                plain_log_ticks(ax.xaxis)
            if outcome == "ece":
                ax.set_ylim(bottom=0)
            else:
                ax.axhline(0, color="0.6", lw=0.6, zorder=0)
            ax.grid(axis="y")
            if loss == columns[0][1]:
                ax.set_ylabel(text)
        where = [label(model), *([label(penalty)] if several else [])]
        line[0].set_ylabel("\n".join([*where, line[0].get_ylabel().replace(" (", "\n(")]))
    for ax, (_, loss) in zip(axes[0], columns, strict=True):
        ax.set_title(f"Hessian of\n{LOSS_LABELS[loss]}")
    figure.supxlabel("trace of the Hessian (nats)", fontsize=8)
    marks = [
        Line2D([], [], color=palette[g], marker=markers[g], ms=4, lw=0.8, label=f"γ = {g:g}")
        for g in gammas
    ]
    if not several:
        (penalty,) = data["penalty"].unique()
        marks.append(Line2D([], [], ls="", label=f"lines: penalty ({label(penalty)})"))
    legend_above(figure, marks, [mark.get_label() for mark in marks])
    return figure
