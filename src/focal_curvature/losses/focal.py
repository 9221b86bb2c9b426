"""Focal loss (Lin et al. 2017, "Focal loss for dense object detection", arXiv 1708.02002)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["focal"]
ABOUT = {
    "focal": {
        "label": "focal loss",
        "parameters": {
            "gamma": {"minimum": 0, "choose": "0 is cross-entropy, trained once"},
        },
    }
}


def log_one_minus_p(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return ln(1 - p_y) without ever forming 1 - p_y.

    It is the log-sum-exp of the other classes' log-probabilities, so that it and its first two
    derivatives stay finite when p_y rounds to one.

    Parameters
    ----------
    log_probabilities : Tensor
        Shape (N, K), K >= 2, floating point: normalised log-probabilities.
    labels : Tensor
        Shape (N,), int64.

    Returns
    -------
    Tensor
        Shape (N,), the dtype of ``log_probabilities``.
    """
    others = log_probabilities.scatter(1, labels[:, None], -torch.inf)
    return torch.logsumexp(others, dim=1)


class FocalLoss(nn.Module):
    """Per-sample focal loss -(1 - p_y)^gamma ln p_y.

    Parameters
    ----------
    gamma : float
        Focusing parameter, >= 0. Zero is cross-entropy exactly.

    Raises
    ------
    ValueError
        If ``gamma`` is negative or not finite.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma must be finite and at least 0, not {gamma}")
        self.gamma = float(gamma)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,) in nats, from logits (N, K) and int64 labels (N,)."""
        if self.gamma == 0:
            return F.cross_entropy(logits, labels, reduction="none")
        log_probabilities = F.log_softmax(logits, dim=1)
        modulation = torch.exp(self.gamma * log_one_minus_p(log_probabilities, labels))
        return modulation * F.nll_loss(log_probabilities, labels, reduction="none")


def focal(gamma: float) -> FocalLoss:
    """Build the focal loss of focusing parameter ``gamma`` (>= 0)."""
    return FocalLoss(gamma)
