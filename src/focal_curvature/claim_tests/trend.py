"""Rank correlation of a measure with gamma within each seed, averaged over seeds.

Seeds are the unit: runs of one seed share initial weights and batches. Student's t on the per-seed
correlations has its size whatever profile over gamma the seeds share and however it differs among
them; a permutation of gammas tests that there is no profile at all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import Data, Evidence, NotTestedError, Part, mean_over_seeds
from focal_curvature.analysis.questions import CORRELATION, Kind, Question, gammas, known, wide
from focal_curvature.analysis.ranks import correlation, step

__all__ = ["trend"]

KEYS = {
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "up_to": {"$ref": "#/$defs/up_to"},
    "direction": {"$ref": "#/$defs/direction"},
    "smallest_effect": {"$ref": "#/$defs/fraction"},
}
OPTIONAL = ["hessian_of"]


def trend() -> Kind:
    """Return the kind."""
    statistic = "Spearman correlation with gamma within a seed, mean over seeds"
    return Kind(statistic, CORRELATION, data, test)


def data(runs: pd.DataFrame, question: Question) -> Data:
    """Lay out the measure over seeds and gammas."""
    column = question.curvature
    rows = known(runs, [column])
    gamma = gammas(rows, question.claim["up_to"])
    arrays, levels, note = wide(rows, [column], gamma, question.rules["minimum_seeds"])
    if len(levels) < question.rules["minimum_levels"]:
        raise NotTestedError(f"{len(levels)} values of gamma, too few for a trend")
    return Data({"measure": arrays[column]}, arrays[column].size, levels, note)


def test(data: Data, question: Question, generator: np.random.Generator) -> Evidence:
    """Test the mean of the per-seed correlations."""
    values = data.arrays["measure"]
    gammas = np.broadcast_to(np.asarray(data.levels, float), values.shape)
    # Where all seeds agree to the rank there is no variance to estimate one from: the error is
    # then that of one seed with the next smaller correlation.
    mean = mean_over_seeds(
        correlation(values, gammas, axis=1), step(len(data.levels)) / len(values)
    )
    low, high = max(mean.low, -1.0), min(mean.high, 1.0)
    part = Part("rank correlation with gamma", question.direction * mean.estimate, mean.error)
    return Evidence(mean.estimate, low, high, mean.p, parts=(part,))
