"""Cross-entropy times a constant: the control that scales every Hessian and moves no minimum."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["rescaled_ce"]
ABOUT = {
    "rescaled_ce": {
        "label": "rescaled cross-entropy",
        "parameters": {
            "factor": {
                "exclusiveMinimum": 0,
                "choose": "scales every Hessian and moves no minimum: a control",
            }
        },
    }
}


class RescaledCrossEntropy(nn.Module):
    """Per-sample loss -factor ln p_y.

    Parameters
    ----------
    factor : float
        Positive constant. One is cross-entropy.

    Raises
    ------
    ValueError
        If ``factor`` is not positive and finite.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        if not 0 < factor < float("inf"):
            raise ValueError(f"factor must be positive and finite, not {factor}")
        self.factor = float(factor)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of shape (N,) in nats, from logits (N, K) and int64 labels (N,)."""
        return self.factor * F.cross_entropy(logits, labels, reduction="none")


def rescaled_ce(factor: float) -> RescaledCrossEntropy:
    """Build cross-entropy times ``factor`` (> 0)."""
    return RescaledCrossEntropy(factor)
