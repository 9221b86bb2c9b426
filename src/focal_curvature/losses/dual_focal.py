"""Dual focal loss (Tao, Dong, Xu 2023, "Dual focal loss for calibration", arXiv 2305.13665)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.losses.focal import log_one_minus_p

__all__ = ["dual_focal"]
ABOUT = {
    "dual_focal": {
        "label": "dual focal loss",
        "parameters": {
            "gamma": {"minimum": 0, "choose": "0 is cross-entropy (Tao et al. 2023)"},
        },
    }
}


class DualFocalLoss(nn.Module):
    """Per-sample loss -(1 - p_y + p_j)^gamma ln p_y.

    p_j is the largest probability below p_y, and 0 where there is none.

    Parameters
    ----------
    gamma : float
        Focusing parameter, >= 0. Zero is cross-entropy.

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
        log_probabilities = F.log_softmax(logits, dim=1)
        of_label = log_probabilities.gather(1, labels[:, None])
        log_p_j = log_probabilities.masked_fill(log_probabilities >= of_label, -torch.inf).amax(1)
        log_rest = log_one_minus_p(log_probabilities, labels)
        # not logaddexp, whose second derivative is NaN where log_p_j is -inf
        log_base = torch.stack([log_rest, log_p_j]).logsumexp(dim=0)
        return -torch.exp(self.gamma * log_base) * of_label[:, 0]


def dual_focal(gamma: float) -> DualFocalLoss:
    """Build the dual focal loss of focusing parameter ``gamma`` (>= 0)."""
    return DualFocalLoss(gamma)
