"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from focal_curvature.calibration.binning import expected_calibration_error
from focal_curvature.calibration.probabilities import check_logits

# where the search begins, and what stands for a temperature that the data do not determine
BOUNDS = (0.05, 20.0)
GRID = np.arange(1, 101) / 10


class Temperature(NamedTuple):
    """A temperature fitted on validation data.

    Attributes
    ----------
    value : float
        What to divide logits by; above 1 they were over-confident.
    at_bound : bool
        Whether the criterion has no minimum inside the search: the value is an end of it, and
        says only in which direction the criterion falls.
    """

    value: float
    at_bound: bool


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, criterion: str = "nll", bins: int = 15
) -> Temperature:
    """Temperature T by which logits are best divided, on validation data.

    By "nll", the mean negative log-likelihood: convex in 1/T, so with a single valley in log T,
    where scipy's bounded scalar minimiser seeks it between 0.05 and 20, or beyond where it lies
    beyond. It has no minimum where no prediction is wrong (it falls as T goes to 0), or where
    logits are no better than chance (as T grows): then T is 0.05, or 20, and `at_bound`. By "ece",
    the least expected calibration error on the grid 0.1, 0.2, ..., 10 of Mukhoti et al. 2020 (arXiv
    2002.09437), the first of equal ones; `at_bound` at an end of the grid.

    Parameters
    ----------
    logits : array of shape (N, K)
        Finite scores on the validation split.
    labels : integer array of shape (N,)
        True classes.
    criterion : {"nll", "ece"}
        What the temperature minimises.
    bins : int
        Number of equal-width bins, for "ece" alone.

    Returns
    -------
    Temperature

    Raises
    ------
    ValueError
        For an unknown criterion, or input that `check_logits` refuses.
    """
    check_logits(logits, labels, "validation")
    shifted = _shifted(logits)
    if criterion == "nll":
        if _all_right(shifted, labels):
            return Temperature(BOUNDS[0], True)
        if _slope(shifted, labels, 0.0) >= 0:
            return Temperature(BOUNDS[1], True)
        return Temperature(_best(shifted, labels)[0], False)
    if criterion == "ece":
        correct = shifted.argmax(axis=1) == labels
        errors = [
            expected_calibration_error(1.0 / np.exp(shifted / t).sum(axis=1), correct, bins)
            for t in GRID
        ]
        best = int(np.argmin(errors))
        return Temperature(float(GRID[best]), best in (0, len(GRID) - 1))
    raise ValueError(f'criterion must be "nll" or "ece", not {criterion!r}')


def refinement(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the least negative log-likelihood that a temperature attains on these very data.

    The refinement error of Berta et al. 2025 (arXiv 2501.19195), the loss that is left after the
    best recalibration g, inf over g of E[loss(g(f(X)), Y)], for g among temperatures and the sample
    in place of the expectation, as in their estimator "ts, all" (package probmetrics). Fitted and
    evaluated on one sample it is too low by about 1/(2N) nats, the price of one parameter. The rest
    of the loss is calibration, never negative.

    Parameters
    ----------
    log_probabilities : array of shape (N, K)
        Natural logarithms of the predicted probabilities, finite; logits give the same.
    labels : integer array of shape (N,)
        True classes.

    Returns
    -------
    float
        Nats. Where the likelihood has no maximum it is the limit: 0 for no wrong prediction and
        log K for logits no better than chance.
    """
    shifted = _shifted(log_probabilities)
    if _all_right(shifted, labels):
        return float(np.log((shifted == 0).sum(axis=1)).mean())
    if _slope(shifted, labels, 0.0) >= 0:
        return float(np.log(shifted.shape[1]))
    return _best(shifted, labels)[1]


def _shifted(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    return logits - logits.max(axis=1, keepdims=True)


def _all_right(shifted: np.ndarray, labels: np.ndarray) -> bool:
    return not shifted[np.arange(len(shifted)), labels].any()


def _slope(shifted: np.ndarray, labels: np.ndarray, scale: float) -> float:
    """Return the derivative of the mean negative log-likelihood by the scale of the logits."""
    weights = np.exp(scale * shifted)
    expected = (weights * shifted).sum(axis=1) / weights.sum(axis=1)
    return float((expected - shifted[np.arange(len(shifted)), labels]).mean())


def _best(shifted: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Temperature of the least mean negative log-likelihood, and that; it must have a minimum."""
    from scipy.optimize import minimize_scalar

    of_label = shifted[np.arange(len(shifted)), labels].mean()

    def nll(log_t: float) -> float:
        scale = np.exp(-log_t)
        return np.log(np.exp(scale * shifted).sum(axis=1)).mean() - scale * of_label

    low, high = np.log(BOUNDS)
    width = high - low
    while _slope(shifted, labels, np.exp(-high)) > 0:
        low, high = high, high + width
    while _slope(shifted, labels, np.exp(-low)) < 0:
        low, high = low - width, low
    best = minimize_scalar(nll, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x)), float(best.fun)
