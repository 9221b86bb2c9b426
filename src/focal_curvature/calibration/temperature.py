"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

import numpy as np

from focal_curvature.calibration.binning import expected_calibration_error
from focal_curvature.calibration.probabilities import check_logits

BOUNDS = (0.05, 20.0)
GRID = np.arange(1, 101) / 10


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, criterion: str = "nll", bins: int = 15
) -> float:
    """Temperature T by which logits are best divided, on validation data.

    By "nll", the mean negative log-likelihood: convex in 1/T, so with a single valley in log T,
    where scipy's bounded scalar minimiser seeks it between 0.05 and 20. A T at such a bound says
    that the data do not determine it, as with no wrong prediction at all. By "ece", the least
    expected calibration error on the grid 0.1, 0.2, ..., 10 of Mukhoti et al. 2020 (arXiv
    2002.09437), the first of equal ones.

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
    float
        The temperature; above 1 the logits were over-confident.

    Raises
    ------
    ValueError
        For an unknown criterion, or input that `check_logits` refuses.
    """
    check_logits(logits, labels, "validation")
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)

    if criterion == "nll":
        from scipy.optimize import minimize_scalar

        of_label = shifted[np.arange(len(shifted)), labels].mean()

        def nll(log_t: float) -> float:
            scale = np.exp(-log_t)
            return np.log(np.exp(scale * shifted).sum(axis=1)).mean() - scale * of_label

        found = minimize_scalar(
            nll, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6}
        )
        return float(np.exp(found.x))
    if criterion == "ece":
        correct = shifted.argmax(axis=1) == labels
        errors = [
            expected_calibration_error(1.0 / np.exp(shifted / t).sum(axis=1), correct, bins)
            for t in GRID
        ]
        return float(GRID[np.argmin(errors)])
    raise ValueError(f'criterion must be "nll" or "ece", not {criterion!r}')
