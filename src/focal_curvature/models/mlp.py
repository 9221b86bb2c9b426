"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

__all__ = ["mlp"]
ABOUT = {"mlp": {"label": "MLP", "cost": 0.95}}


def mlp(classes: int, channels: int, size: int, hidden: Sequence[int] = (300, 100)) -> nn.Module:
    """Build a fully connected network with rectified units.

    The default is the 784-300-100-10 network of LeCun et al. 1998 (section III-C.5) on 28x28
    images: 266,610 parameters, the 267K of Han et al. 2015 (arXiv 1506.02626, table 1,
    "LeNet-300-100").

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels.
    hidden : sequence of int
        Widths of the hidden layers; none gives multinomial logistic regression.

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = channels * size * size
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, classes))
