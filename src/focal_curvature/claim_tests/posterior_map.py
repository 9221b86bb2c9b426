"""How much of what gamma does to an outcome its own map of posteriors does: curvature's rival.

Who minimises focal loss does not predict the posterior eta but v with Psi(v) = eta, which is less
certain (Charoenphakdee et al. 2021, arXiv 2011.09172). Psi has no parameter but gamma
and leaves weights, and so their Hessian, as they are. Of each seed's effect

    total effect =  focal - plain          =  by the map  +  the rest
    by the map   =  focal - Psi of focal
    the rest     =  Psi of focal - plain

and the estimate is the share of the total effect, whichever way it goes, that is by the map: one if
focal loss learns the same posterior as cross-entropy, and zero if it calibrates by what it learns,
as by flattening. Paired t of ``by the map - total / 2``, interval by Fieller.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    Data,
    Evidence,
    NotTestedError,
    Part,
    mean_over_seeds,
    share,
)
from focal_curvature.analysis.questions import SHARE, Kind, Question, gammas, known, wide

__all__ = ["posterior_map"]

KEYS = {
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "outcomes_beside": {"$ref": "#/$defs/outcomes"},
    "gammas": {"$ref": "#/$defs/gammas"},
    "gammas_beside": {"$ref": "#/$defs/gammas"},
    "found_in": {
        "type": "array",
        "items": {"type": "string"},
        "description": "experiments that the claim was made from: their networks are not pooled",
    },
}
OPTIONAL = ["outcomes_beside", "gammas_beside", "found_in"]


def posterior_map() -> Kind:
    """Return the kind."""
    statistic = "share of the effect that undoing focal loss's map of posteriors takes away"
    return Kind(statistic, SHARE, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out the outcome of cross-entropy and of focal loss, as it is and with the map undone."""
    y = str(question.outcome)
    undone = f"{y}_psi"
    if undone in runs and y in runs:
        # Cross-entropy's map is none, and its scores are not written twice.
        runs = runs.assign(**{undone: runs[undone].where(runs["gamma"] != 0, runs[y])})
    rows = known(runs, [y, undone])
    gamma = gammas(rows)
    gamma[~np.isin(gamma, [0, question.gamma])] = np.nan
    arrays, levels, note = wide(rows, [y, undone], gamma, question.rules["minimum_seeds"])
    if levels != (0, question.gamma):
        raise NotTestedError(f"no usable runs of both gamma 0 and {question.gamma:g}")
    columns = {"outcome": arrays[y], "undone": arrays[undone]}
    return Data(columns, arrays[y].size, levels, note)


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Test the share of the map."""
    (plain, focal), undone = data.arrays["outcome"].T, data.arrays["undone"][:, 1]
    total, rest = mean_over_seeds(focal - plain), mean_over_seeds(undone - plain)
    ratio, error = share(focal - undone, focal - plain)
    changed = total.low > 0 or total.high < 0
    barrier = f"gamma {question.gamma:g} does not change the outcome significantly"
    unit = question.outcome_unit
    ends = [unit.shown(value) for value in (rest.estimate, rest.low, rest.high)]
    return Evidence(
        *(ratio.estimate, ratio.low, ratio.high, ratio.p, ratio.null),
        parts=(Part("share above one half", ratio.estimate - 0.5, error),) if changed else (),
        excluded=False,
        negligible=False,
        barrier="" if changed else barrier,
        remark="the rest {} [{}, {}] {}".format(*map(unit.form.format, ends), unit.name),
    )
