"""From logits to log-probabilities, with the checks that every score relies on."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits, in float64 whatever the input's type.

    Parameters
    ----------
    logits : array of shape (N, K)
        Finite scores of N samples for K classes.

    Returns
    -------
    array of shape (N, K), float64
        Natural logarithms of the softmax; finite wherever the logits are.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def check_logits(logits: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Refuse logits and labels that cannot be scored.

    Parameters
    ----------
    logits : array of shape (N, K)
        Scores of N samples for K classes.
    labels : integer array of shape (N,)
        True classes, 0 to K - 1.
    name : str
        What the arrays are, for the message ("test", "validation").

    Raises
    ------
    ValueError
        For no samples, shapes that disagree, labels that are no class, or logits that are not
        finite.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.size == 0:
        raise ValueError(
            f"{name}: logits must have shape (N, K) and labels (N,) with N, K > 0, "
            f"not {logits.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"{name}: labels must be integers from 0 to {logits.shape[1] - 1}")
    broken = int((~np.isfinite(logits).all(axis=1)).sum())
    if broken:
        raise ValueError(
            f"{name}: {broken} of {len(logits)} samples have logits that are not finite"
        )
