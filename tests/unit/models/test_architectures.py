"""The architectures: sizes against the figures of their papers or docstrings, and derivatives."""

from __future__ import annotations

import importlib

import pytest
import torch
from operations import Operations
from torch import nn

from focal_curvature.registry import names

# model, image shape, classes, parameters as published (the docstrings name where; of the two small
# networks, which are this repository's own, they state the number)
ARCHITECTURES = [
    ("small_cnn:small_cnn", (1, 8), 10, 3_658),
    ("small_resnet:small_resnet", (1, 8), 10, 18_626),
    ("vit:tiny_vit", (1, 28), 10, 36_682),
    ("lenet:lenet", (1, 28), 10, 61_706),
    ("mlp:mlp", (1, 28), 10, 266_610),
    ("cifar_resnet:resnet20", (3, 32), 10, 269_722),
    ("cifar_resnet:resnet56", (3, 32), 10, 853_018),
    ("resnet9:resnet9", (3, 32), 10, 6_573_120),
    ("resnet:resnet18", (3, 32), 10, 11_173_962),
    ("resnet:resnet34", (3, 32), 10, 21_282_122),
    ("resnet:resnet50", (3, 32), 10, 23_520_842),
    ("wide_resnet:wide_resnet28_10", (3, 32), 10, 36_479_194),
    ("vgg:vgg16_bn", (3, 32), 10, 14_728_266),
    ("densenet:densenet121", (3, 32), 10, 6_956_426),
]
# fully convolutional networks are differentiated on small images, to be quick
SIDE = {"lenet:lenet": 28, "mlp:mlp": 28, "vgg:vgg16_bn": 32}


def factory(path: str):
    module, name = path.split(":")
    module = importlib.import_module(f"focal_curvature.models.{module}")
    assert name in module.__all__
    return getattr(module, name)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_model_is_among_them():
    listed = {path.split(":")[1] for path, *_ in ARCHITECTURES}
    assert listed == set(names("models"))


@pytest.mark.parametrize(("path", "image", "classes", "expected"), ARCHITECTURES)
def test_parameter_count_is_the_stated_one(path, image, classes, expected):
    with torch.device("meta"):
        assert parameters(factory(path)(classes, *image)) == expected


@pytest.mark.parametrize("path", [path for path, *_ in ARCHITECTURES])
def test_first_and_second_derivatives_exist(path):
    """Hessian products are what the project is about: in-place operations must not break them.

    Nor must there be one of those that CUDA cannot repeat to the bit, at which training fails.
    """
    torch.manual_seed(0)
    side = SIDE.get(path, 8)
    model = factory(path)(7, 2, side)
    with Operations() as run:
        logits = model(torch.randn(2, 2, side, side))
        assert logits.shape == (2, 7)
        weights = list(model.parameters())
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 6]))
        gradient = torch.autograd.grad(loss, weights, create_graph=True)
        assert all(part.isfinite().all() for part in gradient)
        product = torch.autograd.grad(sum(part.square().sum() for part in gradient), weights)
    assert not run.not_deterministic
    assert all(part.isfinite().all() for part in product)
    assert sum(part.abs().sum() for part in product) > 0


@pytest.mark.parametrize(
    ("path", "weights"),
    [
        ("resnet:resnet18", "ResNet18_Weights"),
        ("resnet:resnet34", "ResNet34_Weights"),
        ("resnet:resnet50", "ResNet50_Weights"),
        ("densenet:densenet121", "DenseNet121_Weights"),
    ],
)
def test_only_the_stem_differs_from_torchvision(path, weights):
    """The stem loses 64 * 3 * (49 - 9) weights of a 7x7 convolution, and nothing else changes."""
    from torchvision import models

    published = getattr(models, weights).IMAGENET1K_V1.meta["num_params"]
    with torch.device("meta"):
        assert published - parameters(factory(path)(1000, 3, 32)) == 64 * 3 * 40


@pytest.mark.parametrize(
    ("path", "maps"),
    [("cifar_resnet:resnet20", 64), ("wide_resnet:wide_resnet28_10", 640)],
)
def test_last_feature_map_is_8x8_for_32x32_images(path, maps):
    with torch.device("meta"):
        model = factory(path)(10, 3, 32)
        features = model[:-3](torch.empty(1, 3, 32, 32))
    assert features.shape == (1, maps, 8, 8)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_stem_keeps_the_resolution(name):
    with torch.device("meta"):
        model = factory(f"resnet:{name}")(10, 3, 32)
        images = torch.empty(1, 3, 32, 32)
        assert model.maxpool(model.relu(model.bn1(model.conv1(images)))).shape == (1, 64, 32, 32)


def test_option_a_shortcut_subsamples_and_pads_with_zero_maps():
    """With its residual branch scaled to zero, a block is the rectified shortcut alone."""
    block = factory("cifar_resnet:resnet20").__globals__["_Block"](16, 32, stride=2)
    nn.init.zeros_(block.norm2.weight)
    images = torch.randn(2, 16, 8, 8)
    outputs = block(images)
    assert torch.equal(outputs[:, 8:24], images[:, :, ::2, ::2].relu())
    assert not outputs[:, :8].any()
    assert not outputs[:, 24:].any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_resnet9_pools_as_adaptive_pooling_does_to_the_bit(size, precision):
    torch.manual_seed(0)
    model = factory("resnet9:resnet9")(10, 3, size, width=8)
    images = torch.randn(16, 3, size, size).contiguous(memory_format=torch.channels_last)

    def derived(model):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images)
        return logits, *torch.autograd.grad(logits.float().square().sum(), model.parameters())

    adaptive = nn.Sequential(*model[:-4], nn.AdaptiveMaxPool2d(1), *model[-3:])
    with Operations() as run:
        expected = derived(adaptive)
    assert run.not_deterministic == {"adaptive_max_pool2d_backward"}
    for one, other in zip(derived(model), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("size", [8, 27, 28, 32, 40])
def test_lenet_takes_any_size(size):
    assert factory("lenet:lenet")(10, 1, size)(torch.zeros(1, 1, size, size)).shape == (1, 10)


def test_lenet_pads_28_pixels_to_the_32_of_the_paper():
    small, large = factory("lenet:lenet")(10, 1, 28), factory("lenet:lenet")(10, 1, 32)
    large.load_state_dict(small.state_dict())
    images = torch.randn(2, 1, 28, 28)
    padded = nn.functional.pad(images, (2, 2, 2, 2))
    torch.testing.assert_close(small(images), large(padded))


def test_mlp_without_hidden_layers_is_linear():
    model = factory("mlp:mlp")(3, 1, 4, hidden=[])
    assert parameters(model) == 3 * 16 + 3


def test_wide_resnet_drops_units():
    model = factory("wide_resnet:wide_resnet28_10")
    with torch.device("meta"):
        rates = {m.p for m in model(10, 3, 32, dropout=0.3).modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.3}


def test_vgg_refuses_images_that_five_poolings_would_erase():
    with pytest.raises(ValueError, match="at least 32 pixels, not 28"):
        factory("vgg:vgg16_bn")(10, 1, 28)
