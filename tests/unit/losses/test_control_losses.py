"""The losses of the controls: closed forms, neutral parameters, safe derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from focal_curvature.losses.brier import brier
from focal_curvature.losses.dual_focal import dual_focal
from focal_curvature.losses.entropy_penalty import entropy_penalty
from focal_curvature.losses.flsd import flsd
from focal_curvature.losses.focal import focal
from focal_curvature.losses.label_smoothing import label_smoothing
from focal_curvature.losses.logit_norm import logit_norm
from focal_curvature.losses.rescaled_ce import rescaled_ce

LOSSES = {
    "label_smoothing": label_smoothing(0.1),
    "rescaled_ce": rescaled_ce(0.3),
    "entropy_penalty": entropy_penalty(0.5),
    "flsd": flsd(),
    "flsd between 0 and 2": flsd(0.5, 1.5),
    "dual_focal 0.5": dual_focal(0.5),
    "dual_focal 1.5": dual_focal(1.5),
    "dual_focal 5": dual_focal(5),
    "brier": brier(),
    "logit_norm": logit_norm(0.5),
}
PROBABILITIES = np.array([0.5, 0.3, 0.15, 0.05])
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def per_label(loss):
    """Loss of every label at the fixed probabilities."""
    logits = torch.from_numpy(np.log(PROBABILITIES)).repeat(4, 1)
    return loss(logits, torch.arange(4)).numpy()


def batch(seed=0, samples=6, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 2
    return logits.requires_grad_(), torch.randint(classes, (samples,), generator=generator)


def test_label_smoothing_closed_form():
    p = PROBABILITIES
    expected = -0.9 * np.log(p) - 0.1 * np.log(p).mean()
    assert per_label(label_smoothing(0.1)) == pytest.approx(expected)


def test_rescaled_closed_form():
    assert per_label(rescaled_ce(0.25)) == pytest.approx(-0.25 * np.log(PROBABILITIES))


def test_entropy_penalty_closed_form():
    p = PROBABILITIES
    expected = -np.log(p) + 0.5 * np.sum(p * np.log(p))
    assert per_label(entropy_penalty(0.5)) == pytest.approx(expected)


def test_logit_norm_is_cross_entropy_of_logits_of_that_norm():
    logits, labels = batch()
    found = logit_norm(0.2)(logits, labels)
    scaled = logits * (5 / logits.norm(dim=1, keepdim=True))
    torch.testing.assert_close(found, F.cross_entropy(scaled, labels, reduction="none"))
    torch.testing.assert_close(logit_norm(0.2)(7 * logits, labels), found)


def test_flsd_closed_form():
    p = PROBABILITIES
    gamma = np.array([3, 3, 5, 5])
    assert per_label(flsd()) == pytest.approx(-((1 - p) ** gamma) * np.log(p))


def test_dual_focal_closed_form():
    p = PROBABILITIES
    runner_up = np.array([0.3, 0.15, 0.05, 0.0])
    assert per_label(dual_focal(3)) == pytest.approx(-((1 - p + runner_up) ** 3) * np.log(p))


def test_dual_focal_takes_only_strictly_smaller_probabilities():
    logits = torch.tensor([[0.4, 0.4, 0.2]], dtype=torch.float64).log()
    expected = -(0.8**2) * math.log(0.4)
    assert dual_focal(2)(logits, torch.tensor([0])).item() == pytest.approx(expected)


def test_brier_closed_form():
    p = PROBABILITIES
    assert per_label(brier()) == pytest.approx(((p - np.eye(4)) ** 2).sum(axis=1))


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (label_smoothing(0), focal(0)),
        (rescaled_ce(1), focal(0)),
        (entropy_penalty(0), focal(0)),
        (flsd(0, 0), focal(0)),
        (dual_focal(0), focal(0)),
        (flsd(0.7, 0.7), focal(0.7)),
        (flsd(threshold=0), focal(3)),
        (flsd(threshold=1), focal(5)),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_neutral_parameters_reduce(loss, reference):
    logits, labels = batch(samples=50)
    found, expected = loss(logits, labels), reference(logits, labels)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@every_loss
def test_one_loss_per_sample(loss):
    logits, labels = batch()
    losses = loss(logits, labels)
    assert losses.shape == labels.shape
    single = torch.cat([loss(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
    torch.testing.assert_close(losses, single)
    assert loss(logits.float(), labels).dtype == torch.float32


@every_loss
def test_works_under_vmap_with_second_derivatives(loss):
    logits, labels = batch()

    def hessian(z, label):
        return torch.func.hessian(lambda at: loss(at[None], label[None])[0])(z)

    each = torch.stack([hessian(z, label) for z, label in zip(logits, labels, strict=True)])
    torch.testing.assert_close(torch.func.vmap(hessian)(logits, labels), each)


@every_loss
def test_derivatives_match_finite_differences(loss):
    logits, labels = batch()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, labels), logits)


@every_loss
@pytest.mark.parametrize("margin", [5.0, 20.0, 60.0, 120.0])
@pytest.mark.parametrize("label", [0, 1, 2], ids=["right", "wrong", "last"])
def test_float32_derivatives_are_finite_and_right(loss, margin, label):
    logits, labels = torch.tensor([margin, 0.5, 0.0, 0.2]), torch.tensor([label])

    def derivatives(at):
        def scalar(z):
            return loss(z[None], labels)[0]

        return torch.func.grad(scalar)(at), torch.autograd.functional.hessian(scalar, at)

    found, exact = derivatives(logits), derivatives(logits.double())
    for single, double in zip(found, exact, strict=True):
        assert single.isfinite().all()
        torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=1e-3)


def test_flsd_jumps_at_its_threshold():
    def at(p):
        logits = torch.tensor([[p, 1 - p]], dtype=torch.float64).log()
        return flsd()(logits, torch.tensor([0])).item()

    assert at(0.2 - 1e-9) == pytest.approx(0.8**5 * -math.log(0.2))
    assert at(0.2 + 1e-9) == pytest.approx(0.8**3 * -math.log(0.2))


def test_rescaling_scales_the_hessian():
    logits, labels = batch(samples=1)

    def hessian(loss):
        return torch.autograd.functional.hessian(lambda z: loss(z, labels).sum(), logits)

    torch.testing.assert_close(hessian(rescaled_ce(7)), 7 * hessian(rescaled_ce(1)))


def test_entropy_penalty_has_an_interior_minimum():
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss = entropy_penalty(0.5)
    for _ in range(500):
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])).sum(), logits)
        logits = (logits - gradient).detach().requires_grad_()
    p = F.softmax(logits, dim=1)[0].detach()
    entropy = -(p * p.log()).sum()
    # the gradient of another class's logit is p_k (1 + beta (ln p_k + H))
    assert p[1].item() == pytest.approx(math.exp(-1 / 0.5 - entropy), rel=1e-6)
    assert p[2].item() == pytest.approx(p[1].item())


@pytest.mark.parametrize(
    ("factory", "arguments", "name"),
    [
        (label_smoothing, (-0.1,), "epsilon"),
        (label_smoothing, (1.5,), "epsilon"),
        (rescaled_ce, (0,), "factor"),
        (rescaled_ce, (math.inf,), "factor"),
        (entropy_penalty, (-1,), "beta"),
        (flsd, (-1,), "gamma_below"),
        (flsd, (5, math.nan), "gamma_above"),
        (flsd, (5, 3, 1.2), "threshold"),
        (dual_focal, (-1,), "gamma"),
        (logit_norm, (0,), "temperature"),
    ],
)
def test_parameters_out_of_range_are_refused(factory, arguments, name):
    with pytest.raises(ValueError, match=name):
        factory(*arguments)
