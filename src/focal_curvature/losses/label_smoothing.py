"""Label smoothing.

Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision", arXiv 1512.00567.
"""

from __future__ import annotations

from torch import nn

__all__ = ["label_smoothing"]
ABOUT = {
    "label_smoothing": {
        "parameters": {
            "epsilon": {
                "minimum": 0,
                "maximum": 1,
                "choose": "the share of the target that all classes get: 0.05, not 5; 0.05 as "
                "Mukhoti et al. 2020",
            }
        }
    }
}


def label_smoothing(epsilon: float) -> nn.CrossEntropyLoss:
    """Build cross-entropy against (1 - epsilon) one-hot + epsilon / K.

    Parameters
    ----------
    epsilon : float
        Share of the target that is spread over all K classes, 0 to 1. Zero is cross-entropy.

    Raises
    ------
    ValueError
        If ``epsilon`` is not between 0 and 1.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be between 0 and 1, not {epsilon}")
    return nn.CrossEntropyLoss(label_smoothing=float(epsilon), reduction="none")
