"""Brier score as a loss.

Brier 1950, "Verification of forecasts expressed in terms of probability", Monthly Weather Review
78.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["brier"]
ABOUT = {"brier": {"label": "Brier score"}}


class BrierLoss(nn.Module):
    """Per-sample squared distance of the prediction from the one-hot label, 0 to 2."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,), from logits (N, K) and int64 labels (N,)."""
        minus_one = logits.new_full((len(labels), 1), -1.0)
        # scattered, as one_hot cannot be used under vmap
        residual = F.softmax(logits, dim=1).scatter_add(1, labels[:, None], minus_one)
        return residual.square().sum(dim=1)


def brier() -> BrierLoss:
    """Build the multi-class Brier loss; it has no parameter."""
    return BrierLoss()
