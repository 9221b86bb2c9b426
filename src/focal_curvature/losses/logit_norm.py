"""Logit normalisation: cross-entropy of logits of a fixed norm.

Wei et al. 2022, "Mitigating neural network overconfidence with logit normalization", arXiv
2205.09310, equation 5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["logit_norm"]
ABOUT = {
    "logit_norm": {
        "label": "LogitNorm",
        "parameters": {
            "temperature": {
                "exclusiveMinimum": 0,
                "choose": "cross-entropy of logits whose norm is 1 / temperature (Wei et al. 2022, "
                "who took 0.04 for CIFAR-10). The norm is fixed in training alone: predictions are "
                "scored with the logits as they are, and scaled",
            }
        },
    },
}
SMALLEST = 1e-14  # added to the squared norm, which has no derivative at zero


class LogitNormLoss(nn.Module):
    """Per-sample loss -ln softmax(z / (temperature |z|))_y.

    Parameters
    ----------
    temperature : float
        One over the norm that the logits are given, > 0.

    Raises
    ------
    ValueError
        If ``temperature`` is not positive and finite.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        self.temperature = float(temperature)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,) in nats, from logits (N, K) and int64 labels (N,)."""
        norm = torch.sqrt(logits.square().sum(dim=1, keepdim=True) + SMALLEST)
        return F.cross_entropy(logits / (self.temperature * norm), labels, reduction="none")


def logit_norm(temperature: float) -> LogitNormLoss:
    """Build cross-entropy of logits of norm 1 / ``temperature`` (> 0)."""
    return LogitNormLoss(temperature)
