"""Bins of confidence: reliability table, calibration errors and the noise floor.

Bins of equal width are netcal's: [a, b) with b = 1 in the last one (Guo et al. 2017 use (a, b]).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

# Columns of a table of bins, by variant of the predictions.
RELIABILITY = ("variant", "bin", "lower", "upper", "count", "confidence", "accuracy", "gap")


def bin_indices(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Bin of every confidence among `bins` equal ones on [0, 1].

    Parameters
    ----------
    confidence : array of any shape
        Probabilities.
    bins : int
        Number of bins.

    Returns
    -------
    integer array of the same shape
        0 to bins - 1.
    """
    # searched, not multiplied: 0.6 * 15 and the edge that linspace gives can round apart
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.searchsorted(edges[1:-1], confidence, side="right")


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Return the expected calibration error of top-label predictions in equal-width bins.

    Equal to netcal's ECE, without its import of more than a second: for use in training.

    Parameters
    ----------
    confidence : array of shape (N,)
        Probability of the predicted class.
    correct : array of shape (N,), bool or 0/1
        Whether the prediction is the label.
    bins : int
        Number of bins.

    Returns
    -------
    float
        Sum over bins of |sum of (confidence - correct)| / N, a fraction.
    """
    residual = confidence - correct
    sums = np.bincount(bin_indices(confidence, bins), weights=residual, minlength=bins)
    return float(np.abs(sums).sum() / len(confidence))


def calibration_error_debiased(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Return the debiased squared calibration error of Kumar et al. 2019 (arXiv 1909.10155).

    Sum over bins j of n_j/N [(c_j - a_j)^2 - a_j (1 - a_j) / (n_j - 1)], for bins of equal count
    with n_j samples, mean confidence c_j and accuracy a_j: their plug-in error less the variance of
    the accuracy. Unlike `expected_calibration_error` it has no floor: its mean is near 0 for
    calibrated predictions, so it may be negative. As in their code, equal confidences share a bin
    and a bin of one sample counts as 0.

    Parameters
    ----------
    confidence : array of shape (N,)
        Probability of the predicted class.
    correct : array of shape (N,), bool or 0/1
        Whether the prediction is the label.
    bins : int
        Number of bins of equal count; fewer where confidences are equal.

    Returns
    -------
    float
        A squared fraction; its root, where positive, compares with the expected calibration error.
    """
    parts = np.array_split(np.sort(confidence), min(bins, len(confidence)))
    edges = [(a[-1] + b[0]) / 2 for a, b in pairwise(parts)]
    index = np.searchsorted(np.unique(edges), confidence, side="left")
    count = np.bincount(index)
    several = count > 1
    count = count[several]
    accuracy = np.bincount(index, weights=correct)[several] / count
    gap = np.bincount(index, weights=confidence - correct)[several] / count
    variance = accuracy * (1 - accuracy) / (count - 1)
    return float((count * (gap**2 - variance)).sum() / len(confidence))


def reliability_table(
    confidence: np.ndarray, correct: np.ndarray, bins: int
) -> list[dict[str, float | int | None]]:
    """Confidence and accuracy by bin, the numbers behind a reliability diagram.

    Parameters
    ----------
    confidence : array of shape (N,)
        Probability of the predicted class.
    correct : array of shape (N,), bool or 0/1
        Whether the prediction is the label.
    bins : int
        Number of equal-width bins.

    Returns
    -------
    list of dict
        One per bin, in order: bin (from 0), lower, upper, count, and mean confidence, accuracy and
        gap (confidence - accuracy), which are None in an empty bin.
    """
    index = bin_indices(confidence, bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    rows = []
    for i in range(bins):
        inside = index == i
        count = int(inside.sum())
        mean = float(confidence[inside].mean()) if count else None
        accuracy = float(correct[inside].mean()) if count else None
        rows.append(
            {
                "bin": i,
                "lower": float(edges[i]),
                "upper": float(edges[i + 1]),
                "count": count,
                "confidence": mean,
                "accuracy": accuracy,
                "gap": mean - accuracy if count else None,
            }
        )
    return rows


def noise_floor(
    confidence: np.ndarray, bins: int, seed: int, repetitions: int = 200
) -> tuple[float, float]:
    """Return the calibration error that a perfectly calibrated predictor would score.

    Keeps the confidences and draws whether each prediction is right with just that probability,
    so what is left is the estimator's own positive bias at this N (Roelofs et al. 2022, arXiv
    2012.08668). No difference smaller than this floor is an effect.

    Parameters
    ----------
    confidence : array of shape (N,)
        Probability of the predicted class.
    bins : int
        Number of equal-width bins.
    seed : int
        Seed of the draws.
    repetitions : int
        Number of simulated label sets.

    Returns
    -------
    mean, upper : float
        Mean and 95% quantile over the repetitions, fractions.
    """
    generator = np.random.default_rng(seed)
    index = bin_indices(confidence, bins)
    order = np.argsort(index, kind="stable")
    ordered = confidence[order]
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    expected = np.add.reduceat(ordered, starts)
    errors = np.empty(repetitions)
    for i in range(repetitions):
        correct = generator.random(len(ordered)) < ordered
        errors[i] = np.abs(expected - np.add.reduceat(correct, starts, dtype=np.int64)).sum()
    errors /= len(confidence)
    return float(errors.mean()), float(np.quantile(errors, 0.95))
