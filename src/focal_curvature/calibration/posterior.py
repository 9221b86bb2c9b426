"""Focal loss's posterior map Psi (Charoenphakdee et al. 2021, arXiv 2011.09172)."""

from __future__ import annotations

import numpy as np

from focal_curvature.calibration.probabilities import log_softmax

TINY = np.finfo(np.float64).tiny


def log_psi(log_probabilities: np.ndarray, gamma: float) -> np.ndarray:
    """Undo focal loss's under-confidence: log-posterior of a model that minimises focal loss.

    Focal loss is classification-calibrated but not strictly proper: its minimiser is not the
    posterior. Psi recovers the posterior, Psi_i(v) = h(v_i) / sum_l h(v_l) with
    h(v) = v / [(1 - v)^gamma - gamma (1 - v)^(gamma - 1) v ln v], taken here as
    ln h = ln v - gamma ln(1 - v) - ln(1 + gamma v (-ln v) / (1 - v)), whose terms neither cancel
    nor overflow. Predicted classes stay the same. Exact while the other classes' sum is at least
    2e-308, and finite beyond (there 2e-308 stands for the sum).

    Parameters
    ----------
    log_probabilities : array of shape (N, K), K > 1
        Natural logarithms of the softmax outputs v, all finite.
    gamma : float
        The focusing parameter that the model was trained with, at least 0; 0 changes nothing.

    Returns
    -------
    array of shape (N, K), float64
        Natural logarithms of the recovered posterior.

    Raises
    ------
    ValueError
        For a negative gamma.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, not {gamma}")
    log_v = np.asarray(log_probabilities, dtype=np.float64)
    v = np.exp(log_v)
    top = (np.arange(len(v)), v.argmax(axis=1))
    v_top = v[top]
    v[top] = 0.0
    # only the top class can come near 1, where 1 - v must be summed from the other classes
    rest_top = np.maximum(v.sum(axis=1), TINY)
    log_rest = np.log1p(-v)
    log_rest[top] = np.log(rest_top)
    odds = -v * log_v / (1.0 - v)
    odds[top] = -v_top * np.log1p(-rest_top) / rest_top
    return log_softmax(log_v - gamma * log_rest - np.log1p(gamma * odds))


def psi(probabilities: np.ndarray, gamma: float) -> np.ndarray:
    """Undo focal loss's under-confidence on probabilities; see `log_psi`.

    Parameters
    ----------
    probabilities : array of shape (N, K), K > 1
        Softmax outputs of a model trained with focal loss; exact zeros and ones are allowed.
    gamma : float
        The focusing parameter that the model was trained with, at least 0.

    Returns
    -------
    array of shape (N, K), float64
        The recovered posterior.
    """
    return np.exp(log_psi(np.log(np.maximum(probabilities, TINY)), gamma))
