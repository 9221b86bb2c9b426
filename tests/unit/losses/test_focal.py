"""Focal loss against closed forms that do not share its code."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from focal_curvature.losses.focal import focal

GAMMAS = [0, 0.5, 1, 1.5, 2, 2.5, 3, 5]


@given(
    logits=st.lists(st.floats(-6, 6), min_size=2, max_size=5),
    gamma=st.sampled_from(GAMMAS),
)
def test_value_is_the_papers_formula(logits, gamma):
    exponentials = [math.exp(z) for z in logits]
    p = exponentials[0] / sum(exponentials)
    expected = -((1 - p) ** gamma) * math.log(p)
    found = focal(gamma)(torch.tensor([logits], dtype=torch.float64), torch.tensor([0]))
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_gamma_zero_is_cross_entropy_to_the_bit():
    logits, labels = torch.randn(50, 7), torch.randint(7, (50,))
    assert torch.equal(focal(0)(logits, labels), F.cross_entropy(logits, labels, reduction="none"))


@given(gamma=st.sampled_from(GAMMAS), margin=st.floats(-8, 8))
def test_derivatives_in_the_logit_are_the_closed_form(gamma, margin):
    """With two classes and margin z, p = s(z): d/dz -(1-p)^g ln p by hand."""
    z = torch.tensor(margin, dtype=torch.float64, requires_grad=True)
    loss = focal(gamma)(torch.stack([z, torch.zeros_like(z)])[None], torch.tensor([0])).sum()
    (slope,) = torch.autograd.grad(loss, z, create_graph=True)
    (bend,) = torch.autograd.grad(slope, z)
    p, q, g = 1 / (1 + math.exp(-margin)), 1 / (1 + math.exp(margin)), gamma
    assert slope.item() == pytest.approx(q**g * (g * p * math.log(p) - q), rel=1e-7, abs=1e-12)
    by_hand = q**g * p * (-g * (g * p * math.log(p) - q) + g * q * (math.log(p) + 1) + q)
    assert bend.item() == pytest.approx(by_hand, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("margin", [5.0, 20.0, 60.0, 120.0, -120.0])
def test_second_derivatives_are_finite_where_p_rounds_to_one(gamma, margin):
    logits = torch.zeros(1, 10)
    logits[0, 3] = margin
    hessian = torch.autograd.functional.hessian(
        lambda z: focal(gamma)(z, torch.tensor([3])).sum(), logits
    )
    assert hessian.isfinite().all()


def test_naive_formula_would_fail_that_test():
    """Guards the guard: the textbook expression is not finite at the same place."""
    logits = torch.zeros(1, 10)
    logits[0, 3] = 60.0

    def naive(z):
        log_p = F.log_softmax(z, dim=1)[:, 3]
        return (-((1 - log_p.exp()) ** 1.5) * log_p).sum()

    assert not torch.autograd.functional.hessian(naive, logits).isfinite().all()


@given(gamma=st.floats(0, 10), shift=st.floats(-50, 50))
def test_shifting_all_logits_changes_nothing(gamma, shift):
    logits, labels = torch.linspace(-3, 3, 12, dtype=torch.float64).view(3, 4), torch.arange(3)
    torch.testing.assert_close(
        focal(gamma)(logits + shift, labels), focal(gamma)(logits, labels), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("gamma", [-1, math.inf, math.nan])
def test_bad_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        focal(gamma)
