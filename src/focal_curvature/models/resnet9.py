"""A residual network that reaches usual accuracy on small colour images in few epochs."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["resnet9"]
ABOUT = {
    "resnet9": {"label": "ResNet-9", "cost": 378, "least_size": 8},
}


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class _Block(nn.Module):
    """Two convolutions beside the identity, which is added after their ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def resnet9(classes: int, channels: int, size: int, *, width: int = 64) -> nn.Module:
    """Build the ResNet-9 of Page 2018 ("How to Train Your ResNet").

    Four convolutions of doubling width, the last three of which halve the image, with a block of
    two more after the second and the fourth, and the largest value over positions at the end:
    6,573,120 parameters at the default with three channels and ten classes. An eighth of the
    logits, as published: without it, usual step sizes are too large.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (at least 8).
    width : int
        Channels of the first convolution; the cost grows with its square.

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    return nn.Sequential(
        _convolution(channels, width),
        *(_convolution(width, 2 * width), nn.MaxPool2d(2), _Block(2 * width)),
        *(_convolution(2 * width, 4 * width), nn.MaxPool2d(2)),
        *(_convolution(4 * width, 8 * width), nn.MaxPool2d(2), _Block(8 * width)),
        nn.MaxPool2d(size // 8),  # all of it: adaptive pooling is not deterministic on CUDA
        nn.Flatten(),
        nn.Linear(8 * width, classes, bias=False),
        _Scale(0.125),
    )
