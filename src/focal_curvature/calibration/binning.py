"""Equal-width bins of confidence: reliability table, calibration error and its noise floor.

The bins are netcal's: [a, b) with b = 1 in the last one (Guo et al. 2017 use (a, b]).
"""

from __future__ import annotations

import numpy as np


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
