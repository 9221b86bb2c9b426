"""What a measure is at a gamma, relative to gamma 0 and the same seed.

Student's t on the logarithm of the ratio: seeds differ by factors, and so does what gamma does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import Data, Evidence, NotTestedError, Part, mean_over_seeds
from focal_curvature.analysis.questions import (
    RATIO,
    Kind,
    Question,
    gammas,
    known,
    logarithms,
    wide,
)

__all__ = ["ratio"]

KEYS = {
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "gammas": {"$ref": "#/$defs/gammas"},
    "gammas_beside": {"$ref": "#/$defs/gammas"},
    "direction": {"$ref": "#/$defs/direction"},
    "smallest_effect": {"$ref": "#/$defs/fraction"},
}
OPTIONAL = ["gammas_beside", "hessian_of"]


def ratio() -> Kind:
    """Return the kind."""
    return Kind("ratio to gamma 0, same seed (geometric mean)", RATIO, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out the measure at gamma 0 and at the gamma asked for."""
    column = question.curvature
    rows = known(runs, [column])
    gamma = gammas(rows)
    gamma[~np.isin(gamma, [0, question.gamma])] = np.nan
    arrays, levels, note = wide(rows, [column], gamma, question.rules["minimum_seeds"])
    if levels != (0, question.gamma):
        raise NotTestedError(f"no usable runs of both gamma 0 and {question.gamma:g}")
    (logs,), changed = logarithms(arrays[column])
    return Data({"log": logs}, logs.size, levels, "; ".join(filter(None, [note, changed])))


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Test the mean logarithm of the ratio."""
    mean = mean_over_seeds(data.arrays["log"][:, 1] - data.arrays["log"][:, 0])
    part = Part("logarithm of the ratio", question.direction * mean.estimate, mean.error)
    return Evidence(mean.estimate, mean.low, mean.high, mean.p, parts=(part,))
