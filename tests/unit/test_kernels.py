"""Convolutions without a defective kernel, and kernels held against torch's native ones."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from focal_curvature import kernels
from focal_curvature.curvature import Settings, estimate
from focal_curvature.kernels import (
    Compared,
    KernelError,
    require_native_gradient,
    safe_convolutions,
)
from focal_curvature.models.small_resnet import small_resnet

SOURCES = Path(__file__).parents[2] / "src"
# What a machine with AVX-512 is told, to behave as one without.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@pytest.fixture(autouse=True)
def nothing_compared_before(monkeypatch):
    monkeypatch.setattr(kernels, "_known", set())


class Functional(nn.Module):
    """A shortcut that is no module of torch's."""

    def __init__(self, inputs: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, inputs, 3, padding=1)
        self.shortcut = nn.Parameter(torch.randn(8, inputs, 1, 1))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = F.conv2d(self.stem(x).relu(), self.shortcut, stride=2)
        return self.head(x.relu().mean((2, 3)))


class Own(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return 2 * super()._conv_forward(x, weight, bias)


def images(channels=1, size=8, count=4):
    torch.manual_seed(0)
    drawn = torch.randn(count, channels, size, size)
    return drawn.contiguous(memory_format=torch.channels_last)


def gradient(model, x):
    logits = model(x)
    return [logits, *torch.autograd.grad(logits.square().sum(), [x, *model.parameters()])]


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(
    ("inputs", "outputs", "options"),
    [
        (4, 6, {"stride": 2}),
        (4, 6, {"stride": (1, 3), "bias": False}),
        (6, 4, {"stride": (2, 1), "padding": "valid", "groups": 2}),
        (1, 4, {"stride": 2, "dilation": 2}),
    ],
)
def test_a_safe_convolution_is_the_same_function(inputs, outputs, options, size):
    """Against torch's native kernels: those of oneDNN overwrite memory for some of these."""
    torch.manual_seed(0)
    model = nn.Conv2d(inputs, outputs, 1, **options).to(memory_format=torch.channels_last)
    x = images(inputs, size).requires_grad_()
    with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        expected = gradient(model, x)
    names = list(model.state_dict())
    assert safe_convolutions(model) == [""]
    assert safe_convolutions(model) == []
    assert list(model.state_dict()) == names
    assert type(model) is nn.Conv2d
    for twin in (model, copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        for found, known in zip(gradient(twin, x), expected, strict=True):
            torch.testing.assert_close(found, known)


def test_what_has_another_kernel_or_function_stays():
    kept = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 1, stride=2, padding=1),
        Own(4, 4, 1, stride=2),
    )
    assert safe_convolutions(kept) == []


def test_a_parametrised_convolution_is_made_safe():
    model = parametrizations.weight_norm(nn.Conv2d(4, 8, 1, stride=2))
    x = images(4)
    expected = model(x)
    assert safe_convolutions(model) == [""]
    with Compared(model, set()) as compared:
        torch.testing.assert_close(model(x), expected)
    assert compared.comparisons[0].stride == (1, 1)


def test_no_model_of_ours_reaches_the_defective_kernel_alone_or_stacked():
    """In a process of its own, which the defect would end: 200 steps ended it every time."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        env={**os.environ, **AVX2, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


STEPS = """
import torch
from torch import nn
from focal_curvature.models.small_resnet import small_resnet
from focal_curvature.stack import Stack
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(16, 1, 8, 8).contiguous(memory_format=torch.channels_last)
alone = small_resnet(10, 1, 8, width=4).to(memory_format=torch.channels_last)
stacked = Stack([small_resnet(10, 1, 8, width=4) for _ in range(2)])
for model, images in ((alone, x), (stacked, x[:, None].expand(-1, 2, -1, -1, -1))):
    for _ in range(200):
        model(images).square().sum().backward()
print("done")
"""


@pytest.mark.parametrize("estimator", ["engine", "pyhessian"])
def test_estimators_take_a_model_with_few_channels(estimator):
    """A user's own: nothing made it safe before. PyHessian's process died of it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 1, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    settings = Settings(estimator=estimator, probes=4)
    rest = (nn.CrossEntropyLoss(reduction="none"), images(count=20), torch.arange(20) % 10)
    found = estimate(model, *rest, settings, 0)
    exact = estimate(
        model, *rest, replace(settings, dtype="float64"), 0
    )  # which oneDNN has no part in
    assert found.trace.estimate == pytest.approx(exact.trace.estimate, rel=1e-4)
    assert "_conv_forward" not in vars(model[3])  # the caller's model stays as it was


def loss_of(model, x):
    return lambda: F.cross_entropy(model(x), torch.arange(len(x)))


def test_a_call_that_cannot_be_made_safe_is_refused_before_it_overwrites_memory():
    model = Functional().to(memory_format=torch.channels_last)
    assert safe_convolutions(model) == []
    words = r"shortcut: a convolution of \(4, 4, 8, 8\) by \(8, 4, 1, 1\) with stride 2 .*::s"
    with pytest.raises(KernelError, match=words):
        require_native_gradient(model, loss_of(model, images()))
    with pytest.raises(KernelError, match=words):
        loss = nn.CrossEntropyLoss(reduction="none")
        estimate(model, loss, images(), torch.arange(4), Settings(), seed=0)


@pytest.mark.parametrize("inputs", [4, 16])
def test_a_call_with_another_kernel_is_let_through(inputs):
    model = Functional(inputs)
    x = images().contiguous()
    if inputs == 16:  # as many as the widest block: channels last is no danger
        model, x = model.to(memory_format=torch.channels_last), images()
    assert require_native_gradient(model, loss_of(model, x))


class Faulty(TorchDispatchMode):
    """A kernel of oneDNN's one of whose results is short of a 64th in a channel."""

    def __init__(self, func, weight, result):
        super().__init__()
        self.func, self.weight, self.result = func, weight, result

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        if func is self.func and torch.backends.mkldnn.enabled:
            weight = tensors[1 if self.result is None else 2]
            if weight.shape == self.weight:
                wrong = out if self.result is None else out[self.result]
                wrong[-1, -1] *= 63 / 64
        return out


@pytest.mark.parametrize(("result", "name"), [(0, "input"), (1, "weight")])
def test_a_wrong_gradient_is_found_and_its_layer_named(result, name):
    model = small_resnet(10, 1, 10).to(memory_format=torch.channels_last)
    words = (
        rf"4.convolution2.weight: oneDNN's {name}'s gradient of a convolution of \(4, 32, 3, 3\)"
    )
    loss = loss_of(model, images(size=10))
    faulty = Faulty(torch.ops.aten.convolution_backward.default, (32, 32, 3, 3), result)
    for _ in range(2):  # what was wrong once is not taken for known
        with faulty, pytest.raises(KernelError, match=words):
            require_native_gradient(model, loss)
    require_native_gradient(model, loss)


def test_a_wrong_derivative_of_the_gradient_is_found():
    """There, the samples are the channels of a convolution."""
    model = small_resnet(10, 1, 10).to(memory_format=torch.channels_last)
    loss = loss_of(model, images(size=10, count=5))
    faulty = Faulty(torch.ops.aten.convolution.default, (32, 5, 3, 3), None)
    with faulty:
        require_native_gradient(model, loss)
        with pytest.raises(
            KernelError, match=r"a layer of weight \(32, 5, 3, 3\): oneDNN's output"
        ):
            require_native_gradient(model, loss, second=True)


def test_a_comparison_leaves_the_model_as_it_was():
    model = small_resnet(10, 1, 8)
    model.append(nn.Dropout())
    state = copy.deepcopy(model.state_dict())
    loss = loss_of(model, images())
    drawn = torch.get_rng_state()
    require_native_gradient(model, loss, second=True)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_equal_calls_are_compared_once():
    model = small_resnet(10, 1, 14)
    loss = loss_of(model, images(size=14))
    assert require_native_gradient(model, loss)
    assert require_native_gradient(model, loss) == []
    assert require_native_gradient(model, loss, second=True)


def test_a_loss_without_second_derivatives_is_compared_as_far_as_it_goes():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return 2 * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context, gradient):
            return 2 * gradient

    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 10))
    x = images()
    loss = lambda: F.cross_entropy(Once.apply(model(x)), torch.arange(4))  # noqa: E731
    assert require_native_gradient(model, loss, second=True)
