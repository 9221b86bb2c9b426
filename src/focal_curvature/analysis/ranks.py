"""Spearman's rank correlation over strata, with seeds as the unit of resampling.

Runs of one seed share their initial weights and their batches, whatever they minimise: they are
not independent. So a bootstrap draws seeds, and a permutation moves values within a seed, or whole
seeds at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Association(NamedTuple):
    """Rank correlation, its interval, and the two-sided p-value of none."""

    estimate: float
    low: float
    high: float
    p: float


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rank correlation of weighted points; a weight of 2 is the point twice.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    weights : ndarray, shape (m, n)
        Not negative.

    Returns
    -------
    ndarray, shape (m,)
        NaN where all x or all y that have weight are equal.
    """
    total = weights.sum(axis=1, keepdims=True)

    def deviations(values: np.ndarray) -> np.ndarray:
        below = (values[:, None] < values) + 0.5 * (values[:, None] == values)
        ranks = weights @ below
        return ranks - (weights * ranks).sum(axis=1, keepdims=True) / total

    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = deviations(x), deviations(y)
        norm = np.sqrt((weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1))
        # Ranks are halves: a norm below one half is a rounded zero.
        return np.where(norm > 0.25, (weights * a * b).sum(axis=1) / norm, np.nan)


def association(
    runs: pd.DataFrame, x: str, y: str, within: str | None, resamples: int, seed: int
) -> Association:
    """Correlate two columns over runs.

    Parameters
    ----------
    runs : DataFrame
        Columns ``model``, ``seed``, ``x``, ``y`` (finite) and ``within``. Seeds of different models
        count as independent of each other.
    x, y : str
    within : str, optional
        A column: the estimate is the mean of the correlations within each model and value of it,
        and a permutation reassigns whole seeds of ``y``, the same at every value, which leaves the
        dependence within a seed as it is; only seeds that have all values are used. Without
        it, the correlation is over all runs of a model, and ``y`` is permuted within each seed.
    resamples : int
        Of the bootstrap over seeds (95% interval, the expanded percentiles of Hesterberg 2015,
        arXiv 1411.5279: with few seeds, plain ones are too narrow) and of the permutation test.
    seed : int
        Of the resampling; the order of the rows is of no matter.

    Returns
    -------
    Association
        NaN where a stratum's x or y never varies, or where there are no runs; of one seed there
        is no interval.
    """
    if within:
        runs = complete_seeds(runs, within)
    runs = runs.sort_values(["model", *([within] if within else []), "seed", x, y])
    strata = _groups(runs, ["model", within] if within else ["model"])
    clusters = _groups(runs, ["model", "seed"])
    xs, ys = runs[x].to_numpy(float), runs[y].to_numpy(float)
    generator = np.random.default_rng(seed)
    ones = np.ones((1, len(runs)))

    def mean_over_strata(weights: np.ndarray) -> np.ndarray:
        found = [spearman(xs[part], ys[part], weights[:, part]) for part in strata]
        return np.mean(found, axis=0) if found else np.full(len(weights), np.nan)

    estimate = float(mean_over_strata(ones)[0])
    if np.isnan(estimate):
        return Association(np.nan, np.nan, np.nan, np.nan)
    boot = mean_over_strata(_draw_seeds(runs, clusters, resamples, generator))
    tails = _tails(runs)
    low, high = (np.nan, np.nan) if tails is None else np.nanquantile(boot, tails)

    # A permutation leaves ranks within a stratum as they are, so they are taken once.
    a, b = np.empty(len(runs)), np.empty(len(runs))
    for part in strata:
        for values, ranks in ((xs, a), (ys, b)):
            centred = stats.rankdata(values[part]) - (len(part) + 1) / 2
            ranks[part] = centred / np.sqrt((centred**2).sum())
    permuted = np.empty((resamples, len(runs)), dtype=int)
    if within:
        for model in _groups(runs, ["model"]):
            table = model.reshape(-1, runs["seed"].iloc[model].nunique())  # values x seeds
            columns = generator.permuted(np.tile(np.arange(table.shape[1]), (resamples, 1)), axis=1)
            permuted[:, model] = table[:, columns].transpose(1, 0, 2).reshape(resamples, -1)
    else:
        for block in clusters:
            permuted[:, block] = generator.permuted(np.tile(block, (resamples, 1)), axis=1)
    null = (a * b[permuted]).sum(axis=1) / len(strata)
    extreme = np.abs(null) >= abs(estimate) - 1e-9
    return Association(
        estimate, float(low), float(high), float((1 + extreme.sum()) / (1 + resamples))
    )


def complete_seeds(runs: pd.DataFrame, within: str) -> pd.DataFrame:
    """Keep the seeds of each model that have a run at every value of ``within`` it has."""
    counts = runs.groupby(["model", "seed"])[within].transform("nunique")
    return runs[counts == runs.groupby("model")[within].transform("nunique")]


def _groups(runs: pd.DataFrame, keys: list[str]) -> list[np.ndarray]:
    return list(runs.groupby(keys).indices.values())


def _tails(runs: pd.DataFrame) -> list[float] | None:
    """Return the levels of the percentiles that make up for the few seeds; None for one seed."""
    seeds = runs.groupby("model")["seed"].nunique()
    fewest, freedom = seeds.min(), (seeds - 1).sum()
    if fewest < 2:
        return None
    tail = stats.norm.cdf(np.sqrt(fewest / (fewest - 1)) * stats.t.ppf(0.025, freedom))
    return [tail, 1 - tail]


def _draw_seeds(
    runs: pd.DataFrame, clusters: list[np.ndarray], resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Return how often each run is drawn: seeds with replacement, each model by itself."""
    weights = np.empty((resamples, len(runs)))
    models = runs["model"].to_numpy()
    for model in np.unique(models):
        own = [cluster for cluster in clusters if models[cluster[0]] == model]
        drawn = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples)
        for cluster, times in zip(own, drawn.T, strict=True):
            weights[:, cluster] = times[:, None]
    return weights
