"""The bound and the curvature in the logits: closed forms, and where they hold."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from focal_curvature.analysis import logit_curvature, theory
from focal_curvature.losses.focal import focal

# Predictions up to e^-1200 away from certainty, right or wrong: the first class is the true one.
LOGITS = st.one_of(
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
    st.lists(st.floats(-600, 600), min_size=2, max_size=6),
)


def of(logits):
    return theory.describe(np.array([logits]), np.array([0]))


@pytest.mark.parametrize(
    "logits", [[0.3, -1.0, 2.0], [50.0, 0.0, 3.0], [0.0, 60.0, 1.0], [-90.0, 0.0], [90.0, 0.0]]
)
def test_predictions_agree_with_sixty_digits(logits):
    with localcontext() as context:
        context.prec = 60
        parts = [Decimal(z).exp() for z in logits]
        v = [part / sum(parts) for part in parts]
        rest = sum(v[1:])
        exact = {
            "log_p": v[0].ln(),
            "log_q": rest.ln(),
            "entropy": -sum(x * x.ln() for x in v),
            "impurity": sum(x / rest * (1 - x / rest) for x in v[1:]),
        }
    for name, value in exact.items():
        assert getattr(of(logits), name)[0] == pytest.approx(float(value), rel=1e-12, abs=1e-300)


@given(LOGITS, st.floats(0, 10))
def test_bound_holds_with_the_full_entropy_for_every_gamma(logits, gamma):
    full, _ = theory.bound(of(logits), [gamma])
    assert (full["entropy"], full["holds"], full["largest_violation"]) == ("full", 1, 0)


@given(LOGITS, st.floats(1, 10))
def test_bound_holds_with_the_true_class_alone_from_gamma_one(logits, gamma):
    assert theory.bound(of(logits), [gamma])[1]["holds"] == 1


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(0.01, 0.99))
def test_bound_fails_with_the_true_class_alone_for_every_gamma_below_one(logits, gamma):
    alone = theory.bound(of(logits), [gamma])[1]
    assert (alone["entropy"], alone["holds"]) == ("true class", 0)
    assert alone["largest_violation"] > 0


@given(
    st.lists(st.floats(-8, 8), min_size=3, max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any),
    st.floats(0, 10),
)
def test_bound_holds_for_targets_that_are_distributions(logits, target, gamma):
    told = theory.describe(np.array([logits] * 3), np.arange(3))
    removed = np.average(theory.removed_loss(told, gamma), weights=target)
    assert removed <= gamma * told.entropy[0] * (1 + 1e-9)


def test_loss_removed_is_that_of_the_losses():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(50, 4)) * 5, generator.integers(4, size=50)
    told = theory.describe(logits, labels)
    z, y = torch.from_numpy(logits), torch.from_numpy(labels)
    for gamma in (0.5, 1, 3):
        expected = focal(0)(z, y) - focal(gamma)(z, y)
        assert theory.removed_loss(told, gamma) == pytest.approx(expected.numpy(), rel=1e-9)
        row = theory.bound(told, [gamma])[0]
        assert row["focal"] == pytest.approx(focal(gamma)(z, y).mean().item())
        assert row["mean_slack"] == pytest.approx(
            row["focal"] - row["cross_entropy"] + gamma * row["entropy_mean"]
        )


def test_bound_knows_two_entropies():
    with pytest.raises(ValueError, match="true class"):
        theory.allowance(of([0.0, 1.0]), 1.0, "half")


@pytest.mark.parametrize(
    ("gamma", "p", "published"),
    [(1, 0.9, 0.38), (2, 0.9, 0.086), (3, 0.9, 0.015), (1, 0.99, 0.04), (2, 0.99, 9e-4)],
)
def test_binary_ratio_of_curvatures(gamma, p, published):
    ratio = theory.curvature_ratio(np.log([p]), np.log1p([-p]), 0.0, gamma)[0]
    assert ratio == pytest.approx(published, rel=0.03)


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=6), st.sampled_from([0, 0.5, 1, 1.5, 2, 5]))
@settings(deadline=None, max_examples=50)
def test_ratio_is_that_of_the_differentiated_traces(logits, gamma):
    told = of(logits)
    by_focal, by_cross_entropy = logit_curvature.traces(np.array([logits]), np.array([0]), gamma)
    assert theory.cross_entropy_curvature(told) == pytest.approx(by_cross_entropy, rel=1e-8)
    ratio = theory.curvature_ratio(told.log_p, told.log_q, told.impurity, gamma)
    assert ratio * by_cross_entropy == pytest.approx(by_focal, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("depth", [70.0, 1000.0])  # e^-1000 is below the range of float64
@pytest.mark.parametrize("gamma", [0.5, 1, 2, 5])
def test_ratio_of_confident_predictions(gamma, depth):
    right, wrong = of([depth, 0.0]), of([-depth, 0.0])
    expected = (1 + gamma) ** 2 * np.exp(-depth * gamma)
    ratio = theory.curvature_ratio(right.log_p, right.log_q, right.impurity, gamma)[0]
    assert ratio == pytest.approx(expected, rel=1e-12)
    ratio = theory.curvature_ratio(wrong.log_p, wrong.log_q, wrong.impurity, gamma)[0]
    assert ratio == pytest.approx(1 + gamma * (2 - depth), rel=1e-12)


@given(LOGITS, st.floats(0, 10))
def test_ratio_is_finite_for_saturated_predictions(logits, gamma):
    told = of(np.clip(logits, -3000, 3000))
    assert np.isfinite(theory.curvature_ratio(told.log_p, told.log_q, told.impurity, gamma)).all()


def test_comparison_covers_all_samples_and_differentiates_some():
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(60, 5)) * 3, generator.integers(5, size=60)
    summary, rows = logit_curvature.compare(logits, labels, 2.0, points=7)
    by_focal, by_cross_entropy = logit_curvature.traces(logits, labels, 2.0)
    assert (summary["samples"], len(rows)) == (60, 7)
    assert summary["ratio"] == pytest.approx(by_focal.sum() / by_cross_entropy.sum())
    assert summary["negative"] == (by_focal < 0).mean()
    assert 0 < summary["largest_deviation"] < 1e-9
    odds = [row["log_odds"] for row in rows]
    assert odds == sorted(odds)
    assert all(row["removed"] <= row["full"] for row in rows)
