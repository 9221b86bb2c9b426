"""Interventions on trained networks that move curvature or calibration, not both.

Rescaling layers (Dinh et al. 2017) moves curvature and leaves the function, and so its calibration,
as they are. A temperature moves calibration. Each network is one example: against the claim that
calibration follows curvature speaks one whose curvature moves by `factor` or more while the outcome
stays within `tolerance`, or whose outcome falls by more than `tolerance` while its curvature does
not fall. Nothing is estimated, so there is no p, and nothing here can support the claim.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import Data, Evidence, NotTestedError
from focal_curvature.analysis.questions import Kind, Question

__all__ = ["counterexample"]

KEYS = {
    "control": {"enum": ["dinh", "temperature"], "description": "which intervention"},
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "factor": {"type": "number", "exclusiveMinimum": 1, "description": "that curvature moves by"},
    "tolerance": {"$ref": "#/$defs/fraction"},
}
OPTIONAL: list[str] = []


def counterexample() -> Kind:
    """Return the kind."""
    statistic = "change of the outcome under the intervention, mean over networks"
    return Kind(statistic, None, data, test, source="controls")


def data(controls: pd.DataFrame, question: Question) -> Data:
    """Lay out curvature and outcome before and after, a row per network and strength."""
    measure, y = str(question.measure), str(question.outcome)
    if controls.empty or y not in controls or measure not in controls:
        raise NotTestedError("no interventions on trained networks were made")
    keys = ["objective", "seed"]
    before = controls[controls["control"] == "none"][[*keys, measure, y]]
    after = controls[controls["control"] == question.claim["control"]][[*keys, measure, y]]
    both = after.merge(before, on=keys, suffixes=("", "_before")).dropna()
    pair = both[[f"{measure}_before", measure]].to_numpy(float)
    both, pair = both[(pair > 0).all(axis=1)], pair[(pair > 0).all(axis=1)]
    if both.empty:
        raise NotTestedError(
            f"no network has a curvature before and after {question.claim['control']}"
        )
    outcome = both[[f"{y}_before", y]].to_numpy(float)
    return Data({"x": np.log(pair), "y": outcome}, len(both), of_seeds=both["seed"].nunique())


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Count the networks that speak against the claim."""
    claim = question.claim
    moved, change = (np.diff(data.arrays[name], axis=1)[:, 0] for name in ("x", "y"))
    still = (abs(moved) >= np.log(claim["factor"])) & (abs(change) <= claim["tolerance"])
    otherwise = (change < -claim["tolerance"]) & (moved >= 0)
    against = int((still | otherwise).sum())
    unit = question.outcome_unit
    ends = [unit.form.format(unit.shown(end)) for end in (change.min(), change.max())]
    remark = (
        f"{against} of {len(moved)} interventions speak against it; outcome moved by {ends[0]} to "
        f"{ends[1]} {unit.name}, curvature by ×{_factors(moved)}"
    )
    return Evidence(
        *(float(change.mean()), np.nan, np.nan, 1.0),
        excluded=against > 0,
        negligible=False,
        barrier="" if against else "no counterexample among the networks",
        remark=remark,
    )


def _factors(logs: np.ndarray) -> str:
    low, high = np.exp([logs.min(), logs.max()])
    return f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"
