"""A small convolutional network for small images: two convolutions, two linear layers."""

from __future__ import annotations

from torch import nn

__all__ = ["small_cnn"]
ABOUT = {
    "small_cnn": {"label": "small CNN", "cost": 0.55, "least_size": 4},
}


def small_cnn(classes: int, channels: int, size: int, *, width: int = 8) -> nn.Sequential:
    """Build a plain CNN without normalisation layers.

    Parameters
    ----------
    classes, channels, size : int
        Number of classes, of image channels, and the side of the (square) images in pixels, at
        least 4.
    width : int
        Channels of the first convolution; the second has twice as many, the hidden layer four
        times. 3,658 parameters for ten classes of 8 x 8 grey images at the default.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (size // 4) ** 2, 4 * width),
        nn.ReLU(),
        nn.Linear(4 * width, classes),
    )
