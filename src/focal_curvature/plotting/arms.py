"""Calibration error against Hessian trace for everything that was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import (
    FEWEST_JOINED,
    LOSS_LABELS,
    bound_axis,
    colours,
    legend_above,
    panels,
    plain_log_ticks,
)
from focal_curvature.registry import label, names

PRODUCT = {"needs": ("runs",), "order": 160, "where": "not focal alone"}
MARKERS = {
    "focal": "o",
    "cross-entropy": "*",
    "penalty": "^",
    "penalised loss": "v",
    "other loss": "s",
}
JOINED = ("focal", "penalty")  # with cross-entropy, which is their gamma or strength of zero


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per completed run and loss of measurement.

    Returns
    -------
    DataFrame
        model, family (a key of MARKERS), name (the loss or penalty), objective (with its
        parameters), gamma, seed, hessian_of, trace (nats), ece and noise_floor_95 (fractions).
    """
    runs = classified(tables["runs"])
    columns = ["model", "family", "name", "objective", "gamma", "seed", "ece", "noise_floor_95"]
    common = runs[columns]
    return pd.concat(
        [common.assign(hessian_of=loss, trace=runs[f"trace_{loss}"]) for loss in LOSS_LABELS],
        ignore_index=True,
    )


def classified(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the completed runs with their ``family``, a key of MARKERS, and ``name``."""
    runs = runs[runs["status"] == "completed"]
    regularised, gamma = runs["regulariser"].notna(), runs["gamma"]
    family = pd.Series("other loss", index=runs.index)
    family[gamma.notna()] = "focal"
    family[gamma == 0] = "cross-entropy"
    family[regularised] = "penalised loss"
    family[regularised & (runs["loss"] == "cross_entropy")] = "penalty"
    parts = zip(runs["regulariser"], runs["loss"], gamma, strict=True)
    bases = [(r, f"γ = {g:g}" if loss == "focal" else label(loss)) for r, loss, g in parts]
    both = pd.Series([f"{label(str(r))}, {base}" for r, base in bases], runs.index, dtype=object)
    name = runs["loss"].mask(family == "cross-entropy", "cross-entropy")
    name = name.mask(family == "penalty", runs["regulariser"])
    return runs.assign(family=family, name=name.mask(family == "penalised loss", both))


def arm_colours(arms: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """Give each arm, by its ``name``, the colour that it has in every figure and experiment."""
    others = sorted({*names("losses")} - {"focal", "cross_entropy"})
    known = ["focal", "cross-entropy", *sorted(names("regularisers")), *others]
    return colours(list(dict.fromkeys([*known, *sorted(arms)])))


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and Hessian: seeds small, means over them large."""
    data = data.assign(ece=100 * data["ece"], noise_floor_95=100 * data["noise_floor_95"])
    models = list(data["model"].unique())
    order = {family: i for i, family in enumerate(MARKERS)}
    arms = data[["family", "name"]].drop_duplicates()
    arms = arms.sort_values(
        ["family", "name"], key=lambda c: c.map(order) if c.name == "family" else c
    )
    palette = arm_colours(arms["name"])
    figure, axes = panels(models, list(LOSS_LABELS), 2.6)
    for row, model in zip(axes, models, strict=True):
        for ax, loss in zip(row, LOSS_LABELS, strict=True):
            panel = data[(data["model"] == model) & (data["hessian_of"] == loss)]
            floors = panel.groupby("objective")["noise_floor_95"].mean()
            ax.axhspan(0, floors.min(), color="0.9", lw=0)
            ax.axhspan(floors.min(), floors.max(), color="0.95", lw=0)
            plain = _means(panel[panel["family"] == "cross-entropy"])
            for family, name in arms.itertuples(index=False):
                runs = panel[panel["name"] == name]
                style = {"marker": MARKERS[family], "color": palette[name]}
                ax.plot(runs["trace"], runs["ece"], ls="", ms=2, mew=0, alpha=0.45, **style)
                means = _means(runs)
                if family in JOINED and len(means) + 1 >= FEWEST_JOINED:
                    path = pd.concat([plain, means])
                    ax.plot(path["trace"], path["ece"], lw=0.7, color=palette[name])
                ax.plot(
                    means["trace"],
                    means["ece"],
                    ls="",
                    ms=8 if family == "cross-entropy" else 5,
                    mec="0.2",
                    mew=0.3,
                    zorder=4 if family == "cross-entropy" else 3,
                    label=label(name),
                    **style,
                )
            ax.grid(axis="y")
            bound_axis(ax, panel, "trace", "ece", "objective")
            ax.set_ylim(bottom=0)
            ax.set_xscale("log" if (panel["trace"].dropna() > 0).all() else "symlog")
            if ax.get_xscale() == "log":
                bound_axis(ax, panel, "ece", "trace", "objective", along="x")
                plain_log_ticks(ax.xaxis)
        row[0].set_ylabel(f"{label(model)}\nECE (%)")
    for ax, loss in zip(axes[-1], LOSS_LABELS, strict=True):
        ax.set_xlabel(f"trace of the Hessian, {LOSS_LABELS[loss]} (nats)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return figure


def _means(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds, in the order of the configuration."""
    return runs.groupby("objective", sort=False)[["trace", "ece"]].mean()
