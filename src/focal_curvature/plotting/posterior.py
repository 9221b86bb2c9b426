"""A known posterior, what focal loss makes of it, and what undoes that."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from focal_curvature.calibration.posterior import psi
from focal_curvature.plotting.common import PAGE, colours

PRODUCT = {"needs": ("posterior_points", "posterior_plane"), "order": 120}
VARIANTS = {"raw": "softmax", "scaled": "temperature-scaled", "psi": "Ψ undone"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Gather map, samples and closed-form curves.

    Returns
    -------
    DataFrame
        ``kind``, ``gamma``, and: for "map", ``variant``, ``x``, ``y``, ``predicted`` class and its
        probability ``confidence``; for "sample", ``variant``, the ``true`` probability of the most
        likely class and its estimate, ``confidence``; for "two" and "even", focal loss's minimiser
        in closed form, by the inverse of Psi, where the rest is all on a second class, or shared
        by all others.
    """
    points = tables["posterior_points"].melt(
        ["gamma", "true"], list(VARIANTS), var_name="variant", value_name="confidence"
    )
    parts = [tables["posterior_plane"].assign(kind="map"), points.assign(kind="sample")]
    for gamma in points["gamma"].unique():
        for kind, lowest, shares in (("two", 1 / 2, [1, 0]), ("even", 1 / 3, [1 / 2, 1 / 2])):
            v = np.linspace(lowest, 1, 80)
            true = psi(np.column_stack([v, (1 - v)[:, None] * shares]), gamma)[:, 0]
            curve = pd.DataFrame({"true": true, "confidence": v})
            parts.append(curve.assign(kind=kind, gamma=gamma))
    return pd.concat(parts, ignore_index=True).round(5)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a row of maps for the last gamma, and a row of estimates against the truth by gamma."""
    plane, samples = data[data["kind"] == "map"], data[data["kind"] == "sample"]
    gammas = sorted(samples["gamma"].unique())
    titles = {"true": "true posterior"} | VARIANTS
    figure = Figure(figsize=(PAGE, 4.2))
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.05])
    for ax, (variant, title) in zip(
        above.subplots(1, len(titles), sharex=True, sharey=True), titles.items(), strict=True
    ):
        rows = plane[plane["variant"] == variant]
        _map(ax, rows)
        trained = "" if variant == "true" else f", γ = {rows['gamma'].iloc[0]:g}"
        ax.set_title(f"{title}{trained}")
    palette = colours(list(VARIANTS))
    axes = below.subplots(1, len(gammas), sharex=True, sharey=True, squeeze=False)[0]
    for ax, gamma in zip(axes, gammas, strict=True):
        of_gamma = data[data["gamma"] == gamma]
        ax.plot([1 / 3, 1], [1 / 3, 1], color="0.6", lw=0.6, zorder=0)
        for variant, label in VARIANTS.items():
            rows = of_gamma[(of_gamma["kind"] == "sample") & (of_gamma["variant"] == variant)]
            ax.plot(
                rows["true"],
                rows["confidence"],
                "o",
                ms=2,
                mew=0,
                alpha=0.5,
                color=palette[variant],
                label=label,
            )
        for kind, style, label in (
            ("two", "-", "minimiser, rest on one class"),
            ("even", "--", "minimiser, rest shared"),
        ):
            curve = of_gamma[of_gamma["kind"] == kind]
            ax.plot(curve["true"], curve["confidence"], style, lw=0.8, color="k", label=label)
        ax.set_aspect("equal")
        ax.set_title(f"γ = {gamma:g}")
        ax.set_xlabel("true probability")
    axes[0].set_ylabel("estimate")
    handles, labels = axes[0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=5, markerscale=2)
    return figure


def _map(ax: Axes, data: pd.DataFrame) -> None:
    """Shade each class's region by the class's probability; mark where decisions change."""
    grids = {
        name: data.pivot(index="y", columns="x", values=name)
        for name in ("predicted", "confidence")
    }
    x, y = grids["confidence"].columns, grids["confidence"].index
    classes = sorted(data["predicted"].unique())
    for k, colour in zip(classes, colours([str(k) for k in classes]).values(), strict=True):
        shade = LinearSegmentedColormap.from_list("", ["white", colour])
        region = grids["confidence"].where(grids["predicted"] == k)
        ax.pcolormesh(x, y, region, cmap=shade, vmin=0.2, vmax=1, rasterized=True)
    lines = ax.contour(x, y, grids["confidence"], [0.6, 0.9], colors="k", linewidths=0.5)
    ax.clabel(lines, fmt="%g", fontsize=6)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
