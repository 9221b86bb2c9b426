"""torchvision's VGG with a linear read-out for small images."""

from __future__ import annotations

from torch import nn

__all__ = ["vgg16_bn"]
ABOUT = {
    "vgg16_bn": {"label": "VGG-16", "cost": 313, "least_size": 32},
}


def vgg16_bn(classes: int, channels: int, size: int) -> nn.Module:
    """Build VGG-16 with batch normalisation and one linear layer for a head.

    Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration D. torchvision publishes
    138,365,992 parameters for ImageNet, of which the three-layer head, too large for small images,
    holds 123,642,856; the features' 14,723,136 and a head of 5,130 make 14,728,266 here, with three
    channels and ten classes.

    Parameters
    ----------
    classes, channels, size : int
        Number of logits, number of image channels, image side in pixels.

    Returns
    -------
    torch.nn.Module
        Maps images (N, channels, size, size) to logits (N, classes).

    Raises
    ------
    ValueError
        If the images are smaller than 32 pixels, which five poolings would reduce to nothing.
    """
    if size < 32:
        raise ValueError(f"vgg16_bn needs images of at least 32 pixels, not {size}")
    # torchvision takes seconds to import, which reading the name of a model should not cost
    from torchvision.models import vgg

    features = vgg.make_layers(vgg.cfgs["D"], batch_norm=True)
    features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    head = nn.Linear(512, classes)
    for module in features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
