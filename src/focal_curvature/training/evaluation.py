"""Logits of a split and the scores that a training history keeps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.calibration.binning import expected_calibration_error

CHUNK = 1000  # images per forward pass: bounds memory, changes no result


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return logits (N, K) in evaluation mode; the model's own mode is restored."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(chunk) for chunk in images.split(CHUNK)])
    model.train(was_training)
    return logits


def scores(logits: Tensor, labels: Tensor, loss: nn.Module, bins: int) -> dict[str, float]:
    """Score logits (N, K) against labels (N,).

    Returns
    -------
    dict
        ``loss`` (mean of the objective, nats), ``accuracy``, ``nll`` (nats), ``mean_confidence``
        and ``ece`` (fractions).
    """
    logits = logits.double()
    probabilities = F.softmax(logits, dim=1)
    confidence, predicted = (part.cpu().numpy() for part in probabilities.max(dim=1))
    correct = predicted == labels.cpu().numpy()
    return {
        "loss": loss(logits, labels).mean().item(),
        "accuracy": float(np.mean(correct)),
        "nll": F.cross_entropy(logits, labels).item(),
        "mean_confidence": float(np.mean(confidence)),
        "ece": expected_calibration_error(confidence, correct, bins),
    }
