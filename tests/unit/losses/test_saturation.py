"""The focal family where predictions saturate: derivatives up to the third, as penalties need."""

import pytest
import torch
from torch.nn import functional as F

from focal_curvature.losses.dual_focal import dual_focal
from focal_curvature.losses.flsd import flsd
from focal_curvature.losses.focal import focal

GAMMAS = [0, 0.5, 1, 1.5, 2, 2.5, 3, 5, 10]
FAMILY = {
    "focal": focal,
    "dual_focal": dual_focal,
    "flsd": lambda gamma: flsd(gamma, gamma / 2, 0.3),
}


def defined(name, gamma):
    """Return the textbook expression, of which 1 - p is the sum of the others' probabilities."""

    def loss(logits, labels):
        p = F.softmax(logits, dim=1)
        of_label = p.gather(1, labels[:, None])
        q = p.scatter(1, labels[:, None], 0).sum(1)
        if name == "dual_focal":
            q = q + p.masked_fill(p >= of_label, 0).amax(1)
        power = gamma
        if name == "flsd":
            power = torch.where(of_label[:, 0] < 0.3, float(gamma), gamma / 2)
        return -(q**power) * F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]

    return loss


def derivatives(loss, logits, label):
    """Return loss, gradient, Hessian-vector product and the gradient of v'Hv."""
    logits = logits.clone().requires_grad_()
    v = torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)
    value = loss(logits, torch.tensor([label])).sum()
    (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
    (product,) = torch.autograd.grad(gradient, logits, v, create_graph=True)
    (third,) = torch.autograd.grad((v * product).sum(), logits)
    return [part.detach() for part in (value, gradient, product, third)]


def saturated(classes, margin, dtype):
    logits = torch.linspace(-0.1, 0.1, classes, dtype=dtype)[None].clone()
    logits[0, 1] = margin
    return logits


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("margin", [5.0, 20.0, 60.0, 120.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_three_derivatives_are_finite_in_single_precision(name, gamma, margin, classes):
    for label in (1, 0):  # the class of the large logit, and another one
        found = derivatives(FAMILY[name](gamma), saturated(classes, margin, torch.float32), label)
        assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("margin", [0.4, 5.0, 12.0])
@pytest.mark.parametrize("label", [0, 1])
def test_three_derivatives_are_the_definitions(name, gamma, margin, label):
    logits = saturated(4, margin, torch.float64)
    found = derivatives(FAMILY[name](gamma), logits, label)
    expected = derivatives(defined(name, gamma), logits, label)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-14)
