"""Curvature and an outcome over gammas: a description, for gamma moves both.

Two profiles over gamma that have nothing to do with each other are correlated where both are
monotone, in one direction or the other. So no verdict rests on it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import Data, Evidence, NotTestedError, mean_over_seeds
from focal_curvature.analysis.questions import CORRELATION, Kind, Question, gammas, known, wide
from focal_curvature.analysis.ranks import correlation, step

__all__ = ["both_move"]

KEYS = {
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "outcomes": {"$ref": "#/$defs/outcomes"},
    "up_to": {"$ref": "#/$defs/up_to"},
    "direction": {"$ref": "#/$defs/direction"},
    "smallest_effect": {"$ref": "#/$defs/fraction"},
    "described": {"const": True},
}
OPTIONAL = ["hessian_of"]


def both_move() -> Kind:
    """Return the kind."""
    statistic = "Spearman correlation with curvature over gammas within a seed, mean over seeds"
    return Kind(statistic, CORRELATION, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out curvature and outcome over seeds and gammas."""
    x, y = question.curvature, str(question.outcome)
    rows = known(runs, [x, y])
    gamma = gammas(rows, question.claim["up_to"])
    arrays, levels, note = wide(rows, [x, y], gamma, question.rules["minimum_seeds"])
    if len(levels) < question.rules["minimum_levels"]:
        raise NotTestedError(f"{len(levels)} values of gamma, too few")
    return Data({"x": arrays[x], "y": arrays[y]}, arrays[x].size, levels, note)


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Average the per-seed correlations."""
    values = correlation(data.arrays["x"], data.arrays["y"], axis=1)
    mean = mean_over_seeds(values, step(len(data.levels)) / len(values))
    return Evidence(mean.estimate, max(mean.low, -1.0), min(mean.high, 1.0), mean.p)
