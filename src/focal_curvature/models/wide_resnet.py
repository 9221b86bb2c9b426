"""Wide residual networks of Zagoruyko and Komodakis 2016."""

from __future__ import annotations

from torch import Tensor, nn

from focal_curvature.kernels import safe_convolutions

__all__ = ["wide_resnet28_10"]
ABOUT = {
    "wide_resnet28_10": {"label": "Wide ResNet-28-10", "cost": 5243, "least_size": 4},
}


class _Block(nn.Module):
    """Pre-activated pair of 3x3 convolutions, projected where the width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        self.projection = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        shortcut = x if self.projection is None else self.projection(activated)
        return self.residual(activated) + shortcut


def wide_resnet28_10(classes: int, channels: int, size: int, dropout: float = 0.0) -> nn.Module:
    """Build WRN-28-10.

    Zagoruyko and Komodakis 2016 (arXiv 1605.07146), tables 1 and 5: 36.5M parameters; exactly
    36,479,194 with three channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (any will do).
    dropout : float
        Probability of dropping a unit between the two convolutions of a block (the paper: 0, or
        0.3 on CIFAR).

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    model = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False))
    inputs = 16
    for outputs, stride in ((160, 1), (320, 2), (640, 2)):
        for block in range(4):
            model.append(_Block(inputs, outputs, stride if block == 0 else 1, dropout))
            inputs = outputs
    model.extend(
        [
            nn.BatchNorm2d(640),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(640, classes),
        ]
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(model[-1].bias)
    safe_convolutions(model)
    return model
