"""The bound L_FL >= L_CE - gamma * H, sample by sample, with either entropy."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.plotting.common import colours, legend_above, panels, plain_log_ticks
from focal_curvature.registry import label

PRODUCT = {"needs": ("predictions",), "order": 100, "category": "Appendix"}
ENTROPIES = {"full": "entropy of the prediction", "true_class": "true class's term alone"}


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per model, gamma and sample: loss removed and both allowances (nats)."""
    return tables["predictions"][["model", "gamma", "removed", *ENTROPIES]]


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per model and gamma: the bound holds for what is below the diagonal."""
    models, gammas = list(data["model"].unique()), sorted(data["gamma"].unique())
    palette = colours(list(ENTROPIES))
    figure, axes = panels(models, [f"{g:g}" for g in gammas], 1.7, sharex=True, sharey=True)
    values = data[["removed", *ENTROPIES]]
    ends = values[values > 0].min().min(), values.max().max()
    for row, model in zip(axes, models, strict=True):
        for ax, gamma in zip(row, gammas, strict=True):
            panel = data[(data["model"] == model) & (data["gamma"] == gamma)]
            ax.plot(ends, ends, color="0.4", lw=0.6, zorder=0)
            for entropy, text in ENTROPIES.items():
                ax.plot(
                    panel[entropy],
                    panel["removed"],
                    "o" if entropy == "full" else "x",
                    ms=2,
                    mew=0.5,
                    alpha=0.7,
                    color=palette[entropy],
                    label=text,
                )
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_aspect("equal")
            plain_log_ticks(ax.xaxis)
            plain_log_ticks(ax.yaxis)
        row[0].set_ylabel(f"{label(model)}\n" + "$L_{CE} - L_{FL}$ (nats)")
    for ax, gamma in zip(axes[0], gammas, strict=True):
        ax.set_title(f"γ = {gamma:g}")
    for place, word in ((0.95, "holds"), (0.3, "fails")):
        axes[0][0].text(place, 1 - place, word, transform=axes[0][0].transAxes, ha="right")
    figure.supxlabel("γ times the entropy (nats)", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_above(figure, handles, labels, markerscale=2)
    return figure
