"""Residual networks of He et al. 2016 for small images (the CIFAR-10 family)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["resnet20", "resnet56"]
ABOUT = {
    "resnet20": {"label": "ResNet-20", "cost": 41, "least_size": 4},
    "resnet56": {"label": "ResNet-56", "cost": 125, "least_size": 4},
}


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters (option A of the paper)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.extra:
            shortcut = functional.pad(
                x[:, :, :: self.stride, :: self.stride],
                (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2),
            )
        # In place: each pass over memory that is spared is a hundredth of a step.
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(x)).add_(shortcut), inplace=True)


def _resnet(depth: int, classes: int, channels: int) -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
    )
    inputs = 16
    for outputs in (16, 32, 64):
        for block in range((depth - 2) // 6):
            model.append(_Block(inputs, outputs, stride=2 if block == 0 and outputs > 16 else 1))
            inputs = outputs
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)])
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def resnet20(classes: int, channels: int, size: int) -> nn.Module:
    """Build ResNet-20 with option A shortcuts.

    He et al. 2016 (arXiv 1512.03385), section 4.2 and table 6: 0.27M parameters; exactly 269,722
    with three channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (any will do).

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    return _resnet(20, classes, channels)


def resnet56(classes: int, channels: int, size: int) -> nn.Module:
    """Build ResNet-56 with option A shortcuts.

    He et al. 2016 (arXiv 1512.03385), section 4.2 and table 6: 0.85M parameters; exactly 853,018
    with three channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (any will do).

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    return _resnet(56, classes, channels)
