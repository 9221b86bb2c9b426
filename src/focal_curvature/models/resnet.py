"""torchvision's residual networks with a stem for small images."""

from __future__ import annotations

from torch import nn

from focal_curvature.kernels import safe_convolutions

__all__ = ["resnet18", "resnet34", "resnet50"]
ABOUT = {
    "resnet18": {"label": "ResNet-18", "cost": 555, "least_size": 4},
    "resnet34": {"label": "ResNet-34", "cost": 1159, "least_size": 4},
    "resnet50": {"label": "ResNet-50", "cost": 1298, "least_size": 4},
}


def _resnet(name: str, classes: int, channels: int) -> nn.Module:
    # torchvision takes seconds to import, which reading the name of a model should not cost
    from torchvision import models

    model = getattr(models, name)(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    safe_convolutions(model)
    return model


def resnet18(classes: int, channels: int, size: int) -> nn.Module:
    """Build ResNet-18 with a 3x3 stem of stride 1 and no max pooling.

    He et al. 2016 (arXiv 1512.03385), table 1, as torchvision implements it: 11,689,512 parameters
    published for ImageNet; 11,173,962 here with three channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (any will do).

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    return _resnet("resnet18", classes, channels)


def resnet34(classes: int, channels: int, size: int) -> nn.Module:
    """Build ResNet-34 with a 3x3 stem of stride 1 and no max pooling.

    He et al. 2016 (arXiv 1512.03385), table 1, as torchvision implements it: 21,797,672 parameters
    published for ImageNet; 21,282,122 here with three channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (any will do).

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    return _resnet("resnet34", classes, channels)


def resnet50(classes: int, channels: int, size: int) -> nn.Module:
    """Build ResNet-50 with a 3x3 stem of stride 1 and no max pooling.

    He et al. 2016 (arXiv 1512.03385), table 1, as torchvision implements it (stride in the 3x3
    convolution): 25,557,032 parameters published for ImageNet; 23,520,842 here with three channels
    and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels (any will do).

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    return _resnet("resnet50", classes, channels)
