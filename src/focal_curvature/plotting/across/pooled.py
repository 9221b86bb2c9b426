"""The pooled verdicts on all claims, with the effects that they rest on."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from focal_curvature.analysis.evidence import FALL
from focal_curvature.plotting import verdicts

# Claim -> what its pooled effect is; each is above zero where it is as claimed.
EFFECTS = {
    "c1_ratio": "logarithm of the factor by which it is lower",
    "c1_trend": "rank correlation with γ, sign reversed",
    "c2_within_gamma": "rank correlation at equal γ",
    "c2_best_gamma": "gain of the best γ over γ = 0, relative to cross-entropy's value",
    "c2_best_strength_gauss_newton": "gain of the best strength, relative to cross-entropy's value",
    "c2_best_strength_hessian": "gain of the best strength, relative to cross-entropy's value",
    "c3_gauss_newton_trace": "gain by the penalty, relative to cross-entropy's value",
    "c3_hessian_trace": "gain by the penalty, relative to cross-entropy's value",
    "c4_direct": "share of γ's effect, less one half",
    "c4_mediation": "share of γ's effect, less one half",
    "c5_map": "share of γ's effect, less one half",
}
NO_SHARE = "logarithm of the factor by which γ lowers it: no share"


def prepare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the pooled effects in the columns of `focal_curvature.plotting.verdicts`."""
    table = tables["pooled"]
    unit = table["claim"].map(EFFECTS).fillna(table["part"])
    # What is by flattening has no share where gamma raises the curvature.
    unit = unit.mask(table["part"] == FALL, NO_SHARE)
    made = table.assign(model=verdicts.ALL, unit=unit, null=0.0)
    return made[verdicts.COLUMNS].fillna({"hessian_of": ""})


def draw(data: pd.DataFrame) -> Figure:
    """Draw a panel per kind of effect, a line per claim and Hessian."""
    # A normal interval of a correlation may reach beyond what a correlation can be.
    correlation = data["unit"].str.startswith("rank correlation")
    ends = data[["low", "high"]]
    return verdicts.draw(data.assign(**ends.mask(correlation, ends.clip(-1, 1), axis=0)))
