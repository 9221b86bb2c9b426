"""What does what gamma 3 does to confidence, of every network: flattening, or focal loss's map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from focal_curvature.analysis import pooled
from focal_curvature.analysis.claims import ALL, evaluate
from focal_curvature.analysis.claims import prepare as questioned
from focal_curvature.analysis.evidence import Evidence
from focal_curvature.plotting.across.relative_curvature import KEYS, named
from focal_curvature.plotting.common import PAGE, colours, legend_above
from focal_curvature.plotting.mediation import MARKERS, axis_of_shares, draw_share
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
    """Return `KEYS`, claim, known, estimate, low, high: the shares of every network.

    With 95% intervals by Fieller, but for those that cannot be told, as where a penalty does not
    flatten as much. A network is as in `focal_curvature.analysis.pooled.networks`; ``known`` are
    those that the claim was made from.
    """
    rules = tables["rules"]
    asked = {
        name: rules["claims"][name] | ASKED | (OF_CURVATURE if name.startswith("c4") else {})
        for name in CLAIMS
    }
    rules = rules | {"claims": asked}
    rows = []
    for network, runs in pooled.networks(tables["runs"], rules["alike"]).items():
        tests = questioned(runs.assign(model=network[1]), rules)
        for (key, of), judged in evaluate(tests, rules, derive_seed("shares")).items():
            evidence = judged.evidence
            if of != ALL and isinstance(evidence, Evidence) and not evidence.barrier:
                share = {name: getattr(evidence, name) for name in ("estimate", "low", "high")}
                known = pooled.made_from(asked[key[0]], network[2])
                about = {"claim": key[0], "known": known}
                rows.append(dict(zip(KEYS, network, strict=True)) | about | share)
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame) -> Figure:
    """Draw a line per network, a mark per share, hollow where the claim was made from it."""
    networks = data[KEYS].drop_duplicates()
    palette = colours(list(MARKERS))
    figure = Figure(figsize=(PAGE, ROW * (len(networks) + 3)))
    ax = figure.subplots()
    axis_of_shares(ax)
    for y, network in enumerate(networks.itertuples(index=False)):
        own = data[(data[KEYS] == list(network)).all(axis=1)]
        for i, claim in enumerate(CLAIMS):
            for share in own[own["claim"] == claim].itertuples():
                place = y + 0.22 * (i - 1)
                draw_share(ax, place, share, palette[claim], MARKERS[claim], hollow=share.known)
    ax.set_yticks(range(len(networks)), named(networks))
    ax.set_ylim(len(networks) - 0.5, -0.5)
    ax.set_xlabel("share of what γ = 3 does to the gap of confidence to accuracy")
    marks = [
        Line2D([], [], color=palette[c], marker=MARKERS[c], ms=4, lw=1, label=CLAIMS[c])
        for c in CLAIMS
    ]
    legend_above(figure, marks, list(CLAIMS.values()))
    return figure
