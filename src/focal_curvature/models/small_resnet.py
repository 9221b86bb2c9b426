"""A small residual network with batch normalisation, for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.kernels import safe_convolutions

__all__ = ["small_resnet"]
ABOUT = {
    "small_resnet": {"label": "small ResNet", "cost": 2.1, "least_size": 4},
}


class Block(nn.Module):
    """Basic residual block (He et al. 2016, arXiv 1512.03385), projection shortcut (option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.convolution2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(F(x) + shortcut(x)) of shape (N, outputs, H / stride, W / stride)."""
        residual = F.relu(self.norm1(self.convolution1(x)))
        return F.relu(self.norm2(self.convolution2(residual)) + self.shortcut(x))


def small_resnet(
    classes: int, channels: int, size: int, *, width: int = 8, stem_stride: int = 1
) -> nn.Sequential:
    """Build a stem and two residual blocks, each of which halves the image and doubles the width.

    Parameters
    ----------
    classes, channels, size : int
        Number of classes, of image channels, and the side of the (square) images in pixels, at
        least 4. The last layer averages over positions, so that any size works.
    width : int
        Channels of the stem. 18,626 parameters for ten classes of grey images at the default.
    stem_stride : int
        2 halves the image at once, for a quarter of the cost.
    """
    model = nn.Sequential(
        nn.Conv2d(channels, width, 3, stem_stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Block(width, 2 * width, stride=2),
        Block(2 * width, 4 * width, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )
    safe_convolutions(model)
    return model
