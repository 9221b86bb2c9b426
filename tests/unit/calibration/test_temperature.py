"""Temperature scaling recovers what is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from focal_curvature.calibration import fit_temperature


def drawn(samples=800, classes=5, seed=0):
    """Logits and labels drawn from their softmax, whose best temperature is near 1."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(samples, classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.2, 5), st.integers(0, 5))
def test_scaled_logits_scale_the_temperature(scale, seed):
    logits, labels = drawn(seed=seed)
    original = fit_temperature(logits, labels)
    assert original == pytest.approx(1, abs=0.2)
    assert fit_temperature(scale * logits, labels) == pytest.approx(scale * original, rel=1e-5)


def test_gradient_vanishes_at_the_temperature():
    logits, labels = drawn(seed=7)
    beta = 1 / fit_temperature(logits, labels)
    probabilities = np.exp(log_softmax(beta * logits, axis=1))
    picked = logits[np.arange(len(labels)), labels]
    assert np.mean((probabilities * logits).sum(axis=1) - picked) == pytest.approx(0, abs=1e-5)


def test_two_classes_have_a_closed_form():
    # margin m right with share q: the best temperature turns m into the log odds of q
    labels = (np.arange(100) >= 90).astype(int)
    logits = np.tile([4.0, 0.0], (100, 1))
    assert fit_temperature(logits, labels) == pytest.approx(4 / np.log(9), rel=1e-6)


def test_shifting_a_sample_changes_nothing():
    logits, labels = drawn()
    shift = np.linspace(-500, 500, len(labels))[:, None]
    assert fit_temperature(logits + shift, labels) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-6
    )


def test_ece_criterion_takes_the_best_of_the_grid():
    labels = (np.arange(100) >= 90).astype(int)
    # one bin holds all, so the error is |sigmoid(4 / T) - .9|, least at the grid's 1.8
    assert fit_temperature(np.tile([4.0, 0.0], (100, 1)), labels, "ece") == pytest.approx(1.8)


def test_separable_data_give_a_finite_temperature():
    temperature = fit_temperature(np.eye(4) * 30, np.arange(4))
    assert 0.05 <= temperature <= 20


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_one_clear_error(bad):
    logits, labels = drawn()
    logits[3, 1] = bad
    with pytest.raises(ValueError, match=r"validation: 1 of 800 samples have logits that are not"):
        fit_temperature(logits, labels)


def test_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="'brier'"):
        fit_temperature(*drawn(), criterion="brier")
