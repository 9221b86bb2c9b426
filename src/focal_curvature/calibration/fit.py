"""How far a model fits the images that it was trained on, and how large its logits are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from focal_curvature.calibration.probabilities import log_softmax


@dataclass(frozen=True)
class Fit:
    """Fit to the training split, without augmentation, beside the test split.

    Attributes
    ----------
    logit_norm : float
        Mean Euclidean norm of the test images' logits, each about its own mean over classes, which
        probabilities do not depend on.
    train_accuracy : float
        A fraction.
    train_nll : float
        Mean negative log-likelihood of the label, in nats.
    generalisation_gap_accuracy, generalisation_gap_nll : float
        The training split's less the test split's.
    """

    logit_norm: float
    train_accuracy: float
    train_nll: float
    generalisation_gap_accuracy: float
    generalisation_gap_nll: float


def fit(
    train_logits: np.ndarray,
    train_labels: np.ndarray,
    test_logits: np.ndarray,
    test_labels: np.ndarray,
) -> Fit:
    """Compare the predictions on both splits.

    Parameters
    ----------
    train_logits, test_logits : array of shape (N, K)
    train_labels, test_labels : integer array of shape (N,)
    """
    accuracy, nll = _scores(train_logits, train_labels)
    test_accuracy, test_nll = _scores(test_logits, test_labels)
    logits = test_logits.astype(np.float64)
    centred = logits - logits.mean(axis=1, keepdims=True)
    return Fit(
        logit_norm=float(np.linalg.norm(centred, axis=1).mean()),
        train_accuracy=accuracy,
        train_nll=nll,
        generalisation_gap_accuracy=accuracy - test_accuracy,
        generalisation_gap_nll=nll - test_nll,
    )


def _scores(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return accuracy and mean negative log-likelihood."""
    log_probabilities = log_softmax(logits.astype(np.float64))
    of_label = log_probabilities[np.arange(len(labels)), labels]
    return float((logits.argmax(axis=1) == labels).mean()), float(-of_label.mean())
