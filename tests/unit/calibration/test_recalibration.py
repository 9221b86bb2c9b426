"""Recalibrations against known maps and libraries' fits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from focal_curvature.calibration import fit_temperature, log_softmax, recalibrate
from focal_curvature.calibration.posterior import log_psi
from focal_curvature.calibration.recalibration import METHODS


def drawn(samples=4000, classes=4, seed=0):
    """Logits and labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(samples, classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def nll(fitted, logits, labels):
    return -fitted.log_probabilities(logits)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_sum_to_one_and_shifts_do_not_matter(method):
    logits, labels = drawn(300)
    fitted = recalibrate(method, 3 * logits, labels)
    found = fitted.log_probabilities(3 * logits)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    shifted = recalibrate(method, 3 * logits + 50, labels).log_probabilities(3 * logits + 50)
    np.testing.assert_allclose(np.exp(shifted), np.exp(found), atol=1e-3)
    assert (
        nll(fitted, 3 * logits, labels)
        < -log_softmax(3 * logits)[np.arange(len(labels)), labels].mean()
    )


def test_vector_scaling_undoes_factors_and_biases():
    logits, _ = drawn(40_000)
    centred = logits - logits.mean(axis=1, keepdims=True)
    scores = centred * np.array([0.5, 1, 2, 3]) + np.array([0, 1, -1, 0.5])
    rng = np.random.default_rng(2)
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    fitted = recalibrate("vector", logits, labels)
    np.testing.assert_allclose(
        np.exp(fitted.log_probabilities(logits)), np.exp(log_softmax(scores)), atol=0.05
    )
    assert (fitted.parameters, fitted.at_bound) == (8, False)


def test_matrix_scaling_is_multinomial_regression_on_the_logits():
    logits, labels = drawn()
    mixed = logits @ np.random.default_rng(3).normal(size=(4, 4))
    fitted = recalibrate("matrix", mixed, labels)
    centred = mixed - mixed.mean(axis=1, keepdims=True)
    oracle = LogisticRegression(C=1e8, max_iter=5000, tol=1e-8).fit(centred, labels)
    np.testing.assert_allclose(
        np.exp(fitted.log_probabilities(mixed)), oracle.predict_proba(centred), atol=2e-3
    )
    assert fitted.parameters == 20


def test_isotonic_regression_never_gives_a_label_nothing():
    logits, labels = drawn(400)
    fitted = recalibrate("isotonic", 5 * logits, labels)
    probabilities = np.exp(fitted.log_probabilities(5 * drawn(400, seed=1)[0]))
    assert probabilities.min() >= 1 / 4 / 401 - 1e-15
    # on its own data the predicted classes' mean confidence is about their accuracy
    own = np.exp(fitted.log_probabilities(5 * logits))
    assert own.max(axis=1).mean() == pytest.approx((own.argmax(axis=1) == labels).mean(), abs=0.05)


@pytest.mark.parametrize(("gamma", "temperature"), [(0, 3), (3, 0.5)])
def test_focal_temperature_scaling_finds_its_own_model(gamma, temperature):
    logits, _ = drawn(20_000)
    truth = log_psi(log_softmax(logits / temperature), gamma)
    rng = np.random.default_rng(4)
    labels = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)
    fitted = recalibrate("focal_temperature", logits, labels)
    np.testing.assert_allclose(np.exp(fitted.log_probabilities(logits)), np.exp(truth), atol=0.02)
    one = log_softmax(logits / fit_temperature(logits, labels).value)
    rows = np.arange(len(labels))
    assert nll(fitted, logits, labels) <= -one[rows, labels].mean() + 1e-9


@pytest.mark.parametrize("method", ["vector", "matrix", "focal_temperature"])
def test_what_the_data_do_not_determine_is_flagged(method):
    labels = np.arange(40) % 4
    assert recalibrate(method, np.eye(4)[labels] * 3, labels).at_bound
    assert not recalibrate(method, *drawn(2000)).at_bound


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_one_clear_error(method):
    logits, labels = drawn(50)
    logits[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"validation: 1 of 50 samples have logits that are not"):
        recalibrate(method, logits, labels)
