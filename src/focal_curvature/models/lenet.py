"""LeNet-5."""

from __future__ import annotations

from torch import nn

__all__ = ["lenet"]
ABOUT = {
    "lenet": {"label": "LeNet", "cost": 0.65, "least_size": 4},
}


def lenet(classes: int, channels: int, size: int) -> nn.Module:
    """Build LeNet-5 with rectified units, max pooling and a linear read-out.

    The layer widths are those of LeCun et al. 1998 (Proceedings of the IEEE 86(11)), whose input
    is the 28x28 digit padded to 32x32; smaller images are padded to 32x32 in the same way. With
    one channel and ten classes the network has 61,706 parameters: the paper's 60,000 (section
    II-B), plus 900 for connecting the second convolution fully and 850 for the linear read-out,
    less the 44 of the paper's trained subsampling.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels.

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    padding = max(0, (33 - size) // 2)
    side = ((size + 2 * padding - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )
