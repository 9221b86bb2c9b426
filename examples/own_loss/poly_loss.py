"""A loss of mine: PolyLoss of one term (Leng et al. 2022, arXiv 2204.12511)."""

import torch
from torch import nn
from torch.nn import functional as F


class PolyLoss(nn.Module):
    """Cross-entropy plus epsilon (1 - p_y), per sample."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return losses (N,) in nats from logits (N, K) and labels (N,)."""
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        return cross_entropy + self.epsilon * (1 - torch.exp(-cross_entropy))


def poly(epsilon: float) -> nn.Module:
    """Build the loss; its parameters are the keys that the configuration gives lists for."""
    return PolyLoss(epsilon)
