"""What does what gamma 3 does to confidence, of every network: flattening, or focal loss's map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.analysis.claims import ALL, evaluate
from focal_curvature.analysis.claims import prepare as questioned
from focal_curvature.analysis.evidence import Evidence
from focal_curvature.analysis.pooled import networks
from focal_curvature.plotting.across.relative_curvature import DATA_SETS
from focal_curvature.plotting.common import PAGE, colours, legend_above
from focal_curvature.plotting.mediation import MARKERS, axis_of_shares, draw_share
from focal_curvature.registry import label
from focal_curvature.seeds import derive_seed

CLAIMS = {
    "c4_direct": "a penalty of the same trace, own loss",
    "c4_mediation": "the trace at equal γ, own loss",
    "c5_map": "focal loss's own map, weights kept",
}
ASKED: dict[str, Any] = {
    "outcomes": ["confidence_gap"],
    "outcomes_beside": [],
    "gammas": [3],
    "gammas_beside": [],
}
OF_CURVATURE = {"measures": ["trace"], "hessian_of": ["objective"]}
ROW = 0.3  # inches


def prepare(tables: Mapping[str, Any]) -> pd.DataFrame:
    """Return data_set, model, claim, estimate, low, high: the shares of every network.

    With 95% intervals by Fieller, but for those that cannot be told, as where a penalty does not
    flatten as much. A network is as in `focal_curvature.analysis.pooled.networks`.
    """
    rules = tables["rules"]
    asked = {
        name: rules["claims"][name] | ASKED | (OF_CURVATURE if name.startswith("c4") else {})
        for name in CLAIMS
    }
    rules = rules | {"claims": asked}
    rows = []
    for (data_set, model, _), runs in networks(tables["runs"], rules["alike"]).items():
        tests = questioned(runs.assign(model=model), rules)
        for (key, of), judged in evaluate(tests, rules, derive_seed("shares")).items():
            evidence = judged.evidence
            if of != ALL and isinstance(evidence, Evidence) and not evidence.barrier:
                share = {name: getattr(evidence, name) for name in ("estimate", "low", "high")}
                rows.append({"data_set": data_set, "model": model, "claim": key[0], **share})
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a line per network, a mark per share."""
    cells = list(data[["data_set", "model"]].drop_duplicates().itertuples(index=False, name=None))
    palette = colours(list(MARKERS))
    figure = Figure(figsize=(PAGE, ROW * (len(cells) + 3)))
    ax = figure.subplots()
    axis_of_shares(ax)
    for y, cell in enumerate(cells):
        own = data[(data[["data_set", "model"]] == list(cell)).all(axis=1)]
        for i, claim in enumerate(CLAIMS):
            for share in own[own["claim"] == claim].itertuples():
                draw_share(ax, y + 0.22 * (i - 1), share, palette[claim], MARKERS[claim])
    names = [f"{DATA_SETS.get(data_set, data_set)}, {label(model)}" for data_set, model in cells]
    ax.set_yticks(range(len(cells)), names)
    ax.set_ylim(len(cells) - 0.5, -0.5)
    ax.set_xlabel("share of what γ = 3 does to the gap of confidence to accuracy")
    marks = [
        Line2D([], [], color=palette[c], marker=MARKERS[c], ms=4, lw=1, label=CLAIMS[c])
        for c in CLAIMS
    ]
    legend_above(figure, marks, list(CLAIMS.values()))
    return figure
