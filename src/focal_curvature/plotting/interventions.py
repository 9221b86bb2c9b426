"""What moves calibration without curvature, and curvature without calibration."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.plotting.common import (
    MARKERS,
    colours,
    gamma_colours,
    legend_above,
    panels,
    plain_log_ticks,
)
from focal_curvature.registry import label

PRODUCT = {"needs": ("controls",), "order": 130}
CONTROLS = {
    "temperature": "temperature scaling",
    "dinh": "Dinh rescaling (same function)",
    "psi": "Ψ undone (same weights)",
}
KEYS = ["model", "gamma", "seed"]


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run and control: where it starts, and where it leads.

    Without controls that are not applicable or where a Hessian is not finite.

    Returns
    -------
    DataFrame
        KEYS, ``control``, ``value``, ``trace`` under cross-entropy (nats) and ``ece`` (fraction),
        both also with the suffix ``_before``, and ``noise_floor_95_before``. Psi leaves the
        weights, and so the trace, alone.
    """
    controls = tables["controls"]
    measured = ["trace", "ece", "noise_floor_95"]
    before = controls[controls["control"] == "none"].set_index(KEYS)[measured]
    after = controls[controls["control"].isin(list(CONTROLS))]
    both = after[[*KEYS, "control", "value", "trace", "ece"]].join(
        before.add_suffix("_before"), on=KEYS
    )
    both["trace"] = both["trace"].where(both["control"] != "psi", both["trace_before"])
    return both.dropna()


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model: a dot per run as trained, an arrow per control."""
    models, gammas = list(data["model"].unique()), sorted(data["gamma"].unique())
    shade, palette = gamma_colours(gammas), colours(list(CONTROLS))
    figure, axes = panels([""], models, 2.8, sharey=True)
    for ax, model in zip(axes[0], models, strict=True):
        panel = data[data["model"] == model]
        floors = 100 * panel["noise_floor_95_before"]
        ax.axhspan(0, floors.min(), color="0.88", lw=0)
        ax.axhspan(floors.min(), floors.max(), color="0.94", lw=0)
        for row in panel.itertuples():
            ends = (row.trace_before, 100 * row.ece_before), (row.trace, 100 * row.ece)
            ax.annotate(
                "",
                ends[1],
                ends[0],
                arrowprops={
                    "arrowstyle": "-|>",
                    "mutation_scale": 8,
                    "color": palette[row.control],
                    "lw": 1.2,
                    "shrinkA": 4,  # points: not through the dot
                    "shrinkB": 0,
                },
            )
            ax.plot(*ends[1], alpha=0)  # an annotation does not widen the axes
        starts = panel.drop_duplicates(KEYS)
        for i, (gamma, group) in enumerate(starts.groupby("gamma")):
            ax.plot(
                group["trace_before"],
                100 * group["ece_before"],
                MARKERS[i % len(MARKERS)],
                ms=5,
                color=shade[gamma],
                mec="white",
                mew=0.6,
                label=f"γ = {gamma:g}, as trained",
                zorder=3,
            )
        ax.set_xscale("log" if (data[["trace", "trace_before"]] > 0).all(axis=None) else "symlog")
        ax.margins(x=0.12)
        ax.set_title(f"{label(model)}\n{_traces(starts)}".rstrip())
        ax.grid(axis="y")
        if ax.get_xscale() == "log":
            plain_log_ticks(ax.xaxis)
    figure.supxlabel("trace of the Hessian of cross-entropy (nats)", fontsize=8)
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("ECE (%)")
    handles, _ = axes[0][0].get_legend_handles_labels()
    arrows = [Line2D([], [], color=palette[c], marker=">", label=CONTROLS[c]) for c in CONTROLS]
    floor = Line2D(
        [], [], color="0.9", lw=5, label="95% floor of calibrated networks,\nleast to largest"
    )
    drawn = [*handles, *arrows, floor]
    legend_above(figure, drawn, [artist.get_label() for artist in drawn])
    return figure


def _traces(starts: pd.DataFrame) -> str:
    """Say how networks of the largest gamma compare with gamma 0 in their traces, as trained."""
    traces = starts.groupby("gamma")["trace_before"].mean()
    if 0 not in traces:
        return ""
    ratio = traces.iloc[-1] / traces[0]
    return f"trace at γ = {traces.index[-1]:g}: {ratio:.2g} times that at γ = 0"
