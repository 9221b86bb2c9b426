"""torchvision's DenseNet with a stem for small images."""

from __future__ import annotations

from torch import nn

__all__ = ["densenet121"]
ABOUT = {
    "densenet121": {"label": "DenseNet-121", "cost": 888, "least_size": 8},
}


def densenet121(classes: int, channels: int, size: int) -> nn.Module:
    """Build DenseNet-121 with a 3x3 stem of stride 1 and no max pooling.

    Huang et al. 2017 (arXiv 1608.06993), table 1, as torchvision implements it: 7,978,856
    parameters published for ImageNet; 6,956,426 here with three channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels; at least 8.

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).
    """
    # torchvision takes seconds to import, which reading the name of a model should not cost
    from torchvision import models

    model = models.densenet121(num_classes=classes)
    model.features.conv0 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.features.conv0.weight)
    model.features.pool0 = nn.Identity()
    return model
