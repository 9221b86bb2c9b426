"""Spearman's rank correlation over one axis of arrays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import stats


def scores(values: np.ndarray, axis: int) -> np.ndarray:
    """Return ranks along an axis, centred and of unit length; zero where nothing varies."""
    values = np.asarray(values, float)
    return _scores(values.tobytes(), values.shape, axis)


# Kept, since several outcomes are held against the same curvature.
@lru_cache(maxsize=32)
def _scores(content: bytes, shape: tuple[int, ...], axis: int) -> np.ndarray:
    ranks = stats.rankdata(np.frombuffer(content).reshape(shape), axis=axis)
    return _unit(ranks - ranks.mean(axis=axis, keepdims=True), axis)


def _unit(centred: np.ndarray, axis: int) -> np.ndarray:
    length = np.sqrt((centred**2).sum(axis=axis, keepdims=True))
    return centred / np.where(length > 0, length, 1)


def correlation(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """Return the rank correlations along an axis; zero where x or y does not vary."""
    return (scores(x, axis) * scores(y, axis)).sum(axis=axis)


def step(levels: int) -> float:
    """Return the smallest difference of two rank correlations of so many points without ties."""
    return 12 / (levels * (levels**2 - 1))


def leave_one_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the rank correlations over the first axis without each of its entries.

    Parameters
    ----------
    x, y : ndarray, shape (seeds, levels)

    Returns
    -------
    ndarray, shape (seeds, levels)
        ``[i, j]``: of level j, without seed i; zero where x or y does not vary.
    """
    one, other = (_without_each(np.asarray(v, float).tobytes(), v.shape) for v in (x, y))
    return (one * other).sum(axis=1)


@lru_cache(maxsize=32)
def _without_each(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return scores [i, j, ...]: of seed j, seed i taken out."""
    values = np.frombuffer(content).reshape(shape)
    n = len(values)
    below = 0.5 * ((values[:, None] < values).astype(float) + (values[:, None] <= values))
    ranks = below.sum(axis=0) + 0.5 - below
    diagonal = np.arange(n), np.arange(n)
    centre = (ranks.sum(axis=1) - ranks[diagonal]) / (n - 1)
    centred = ranks - centre[:, None]
    centred[diagonal] = 0
    return _unit(centred, 1)
