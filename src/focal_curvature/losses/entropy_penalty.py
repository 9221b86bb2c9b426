"""Confidence penalty: cross-entropy minus a share of the prediction's entropy.

Pereyra et al. 2017, "Regularizing neural networks by penalizing confident output distributions",
arXiv 1701.06548.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["entropy_penalty"]
ABOUT = {
    "entropy_penalty": {
        "parameters": {
            "beta": {
                "minimum": 0,
                "choose": "0 is cross-entropy; 0.1 in our control arms (Pereyra et al. 2017)",
            }
        }
    }
}


class EntropyPenaltyLoss(nn.Module):
    """Per-sample loss -ln p_y - beta H(p), H the entropy of the prediction.

    Parameters
    ----------
    beta : float
        Weight of the entropy, >= 0. Zero is cross-entropy.

    Raises
    ------
    ValueError
        If ``beta`` is negative or not finite.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta must be finite and at least 0, not {beta}")
        self.beta = float(beta)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,) in nats, from logits (N, K) and int64 labels (N,)."""
        log_probabilities = F.log_softmax(logits, dim=1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
        return F.nll_loss(log_probabilities, labels, reduction="none") - self.beta * entropy


def entropy_penalty(beta: float) -> EntropyPenaltyLoss:
    """Build cross-entropy minus ``beta`` (>= 0) times the prediction's entropy."""
    return EntropyPenaltyLoss(beta)
