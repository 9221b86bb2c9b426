"""How much of gamma's effect on calibration goes by flattening, or by its own map: C4 and C5."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.plotting.common import (
    LOSS_LABELS,
    colours,
    legend_above,
    panels,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("claims",), "order": 65}
CLAIMS = {
    "c4_direct": "a penalty of the same curvature",
    "c4_mediation": "curvature, at equal γ",
    "c4_rivals": "a rival, at equal γ",
    "c5_map": "focal loss's own map, weights kept",
}
MARKERS = dict(zip(CLAIMS, "os^D", strict=True))
OUTCOMES = {
    "calibration_error_debiased": "squared calibration error",
    "confidence_gap": "gap of confidence to accuracy",
}
MEASURES = {
    "trace": "trace",
    "adaptive_sharpness": "adaptive sharpness",
    "temperature": "temperature",
    "logit_norm": "norm of the logits",
    "": "map of posteriors",
}
NOTHING = ("no claim on a share of γ's effect was tested",)
RANGE = (-0.75, 1.75)  # of the share, around none and all; what is outside is drawn at the edge
COLUMNS = ["claim", "model", "measure", "hessian_of", "outcome", "gamma"]
VALUES = ["estimate", "low", "high", "verdict"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per share that was estimated for a model: COLUMNS, estimate, low, high, verdict.

    Shares of gamma's effect on an outcome, as `focal_curvature.claim_tests.matched_curvature`,
    `mediation` and `posterior_map` there define them, with 95% intervals by Fieller, infinite where
    the effect itself may be none.
    """
    claims = tables["claims"]
    shown = claims["claim"].isin(list(CLAIMS)) & claims["outcome"].isin(list(OUTCOMES))
    return claims.loc[shown & claims["estimate"].notna(), COLUMNS + VALUES]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of panels per model, a column per outcome, a line per measure and Hessian."""
    data = data.fillna({"measure": "", "hessian_of": ""})
    models = list(data["model"].unique())
    outcomes = [outcome for outcome in OUTCOMES if outcome in set(data["outcome"])]
    lines = [(m, h) for m in MEASURES for h in (*LOSS_LABELS, "")]
    there = set(zip(data["measure"], data["hessian_of"], strict=True))
    lines = [line for line in lines if line in there]
    palette = colours(list(CLAIMS))
    # Room for the legend and the titles once, and for the lines of every row.
    height = 0.4 + 0.6 / len(models) + 0.17 * len(lines)
    figure, axes = panels(models, outcomes, height, sharex=True, sharey=True)
    for row, model in zip(axes, models, strict=True):
        for ax, outcome in zip(row, outcomes, strict=True):
            panel = data[(data["model"] == model) & (data["outcome"] == outcome)]
            axis_of_shares(ax)
            for (measure, hessian), shares in panel.groupby(["measure", "hessian_of"]):
                start = lines.index((measure, hessian)) - 0.09 * (len(shares) - 1)
                for i, share in enumerate(shares.itertuples()):
                    draw_share(
                        ax, start + 0.18 * i, share, palette[share.claim], MARKERS[share.claim]
                    )
        row[0].set_ylabel(label(model))
    axes[0][0].set_ylim(len(lines) - 0.5, -0.5)
    axes[0][0].set_yticks(range(len(lines)), [_name(*line) for line in lines])
    for ax, outcome in zip(axes[0], outcomes, strict=True):
        ax.set_title(OUTCOMES[outcome])
    gamma = "/".join(f"{g:g}" for g in sorted(data["gamma"].unique()))
    figure.supxlabel(f"share of the effect of γ = {gamma} on the outcome", fontsize=8)
    shown = [claim for claim in CLAIMS if claim in set(data["claim"])]
    marks = [Line2D([], [], color=palette[c], marker=MARKERS[c], ms=4, lw=1) for c in shown]
    legend_above(figure, marks, [CLAIMS[claim] for claim in shown])
    return figure


def _name(measure: str, hessian: str) -> str:
    return MEASURES[measure] + (f", {LOSS_LABELS[hessian]}" if hessian else "")


def axis_of_shares(ax: Axes) -> None:
    """Set the horizontal axis: from none of an effect to all of it, and beyond."""
    for place in (0, 0.5, 1):
        ax.axvline(place, color="0.6", lw=0.6, ls="--" if place == 0.5 else "-", zorder=0)
    ax.set_xlim(RANGE)
    ax.set_xticks([0, 0.5, 1], ["none", "half", "all"])


def draw_share(
    ax: Axes, y: float, share: tuple, colour: tuple, marker: str, *, hollow: bool = False
) -> None:
    """Draw an estimate and its interval; beyond the range, an arrow head at the edge."""
    low, high = np.clip([share.low, share.high], *RANGE)
    ax.plot([low, high], [y, y], color=colour, lw=0.9, solid_capstyle="butt")
    for end, arrow, outside in zip(
        RANGE, "<>", (share.low < RANGE[0], share.high > RANGE[1]), strict=True
    ):
        if outside:
            ax.plot(end, y, arrow, ms=3, color=colour, mew=0, clip_on=False)
    if RANGE[0] <= share.estimate <= RANGE[1]:
        inside = {"mfc": "white", "mew": 0.7} if hollow else {"mec": "white", "mew": 0.3}
        ax.plot(share.estimate, y, marker, ms=3, color=colour, **inside)
