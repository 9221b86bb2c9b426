"""Sample-dependent focal loss, FLSD-53 by default.

Mukhoti et al. 2020, "Calibrating deep neural networks using focal loss", arXiv 2002.09437.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.losses.focal import log_one_minus_p

__all__ = ["flsd"]
ABOUT = {
    "flsd": {
        "label": "FLSD",
        "parameters": {
            "gamma_below": {"minimum": 0, "choose": "gamma where the label's probability is small"},
            "gamma_above": {"minimum": 0, "choose": "gamma elsewhere"},
            "threshold": {
                "minimum": 0,
                "maximum": 1,
                "choose": "below it, a probability is small. All left out, it is FLSD-53 of "
                "Mukhoti et al. 2020: 5 below 0.2, 3 above",
            },
        },
    }
}


class SampleDependentFocalLoss(nn.Module):
    """Per-sample focal loss -(1 - p_y)^gamma ln p_y whose gamma depends on p_y.

    The choice of gamma is piecewise constant, so that it has no gradient; the loss itself jumps
    where p_y crosses the threshold.

    Parameters
    ----------
    gamma_below, gamma_above : float
        Focusing parameters where p_y < threshold and elsewhere, >= 0.
    threshold : float
        Probability of the label, 0 to 1.

    Raises
    ------
    ValueError
        If a gamma is negative or not finite, or the threshold is not a probability.
    """

    def __init__(self, gamma_below: float, gamma_above: float, threshold: float) -> None:
        super().__init__()
        for name, gamma in (("gamma_below", gamma_below), ("gamma_above", gamma_above)):
            if not 0 <= gamma < float("inf"):
                raise ValueError(f"{name} must be finite and at least 0, not {gamma}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
        self.gamma_below = float(gamma_below)
        self.gamma_above = float(gamma_above)
        self.threshold = float(threshold)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,) in nats, from logits (N, K) and int64 labels (N,)."""
        log_probabilities = F.log_softmax(logits, dim=1)
        cross_entropy = F.nll_loss(log_probabilities, labels, reduction="none")
        below = torch.exp(-cross_entropy) < self.threshold
        gamma = torch.full_like(cross_entropy, self.gamma_above).masked_fill(
            below, self.gamma_below
        )
        return torch.exp(gamma * log_one_minus_p(log_probabilities, labels)) * cross_entropy


def flsd(
    gamma_below: float = 5.0, gamma_above: float = 3.0, threshold: float = 0.2
) -> SampleDependentFocalLoss:
    """Build focal loss with ``gamma_below`` where p_y < ``threshold``, else ``gamma_above``."""
    return SampleDependentFocalLoss(gamma_below, gamma_above, threshold)
