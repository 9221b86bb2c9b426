"""Psi undoes focal loss: it maps the minimiser of the expected loss to the true posterior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from focal_curvature.calibration import log_psi, psi


@pytest.mark.parametrize(("gamma", "published"), [(1, 0.774), (2, 0.694), (3, 0.647), (5, 0.597)])
def test_binary_minimiser_maps_back(gamma, published):
    def risk(v):
        return -0.9 * (1 - v) ** gamma * np.log(v) - 0.1 * v**gamma * np.log(1 - v)

    v = minimize_scalar(risk, bounds=(0.01, 0.99), method="bounded", options={"xatol": 1e-10}).x
    assert v == pytest.approx(published, abs=5e-4)
    assert psi(np.array([[v, 1 - v], [1 - v, v]]), gamma) == pytest.approx(
        np.array([[0.9, 0.1], [0.1, 0.9]]), abs=1e-6
    )


@pytest.mark.parametrize("gamma", [0.5, 1, 2, 5])
def test_minimiser_of_many_classes_maps_back(gamma):
    truth = np.array([0.55, 0.3, 0.1, 0.05])

    def risk(logits):
        v = softmax(logits)
        return -np.sum(truth * (1 - v) ** gamma * np.log(v))

    v = softmax(minimize(risk, np.log(truth), tol=1e-12).x)
    assert psi(v[None], gamma)[0] == pytest.approx(truth, abs=1e-5)


def test_matches_the_paper_formula():
    v = np.random.default_rng(0).dirichlet(np.ones(6), size=50)
    for gamma in (0.3, 1, 2.5, 5):
        h = v / ((1 - v) ** gamma - gamma * (1 - v) ** (gamma - 1) * v * np.log(v))
        assert psi(v, gamma) == pytest.approx(h / h.sum(axis=1, keepdims=True), rel=1e-12)


@given(st.lists(st.floats(-400, 400), min_size=2, max_size=8), st.floats(0, 10))
def test_normalised_finite_and_of_the_same_class(logits, gamma):
    log_v = log_softmax(np.array([logits]), axis=1)
    log_q = log_psi(log_v, gamma)
    assert np.isfinite(log_q).all()
    assert np.exp(log_q).sum() == pytest.approx(1)
    assert log_q[0, log_v[0].argmax()] == pytest.approx(log_q.max(), abs=1e-12)
    # One of less than a half may be over-confident instead.
    if np.exp(log_v.max()) >= 0.5:
        assert np.exp(log_q.max()) >= np.exp(log_v.max()) - 1e-12


def test_gamma_zero_is_the_identity():
    log_v = log_softmax(np.random.default_rng(1).normal(size=(20, 4)) * 20, axis=1)
    assert log_psi(log_v, 0) == pytest.approx(log_v, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1, 2, 5])
@pytest.mark.parametrize("margin", [40.0, 100.0, 600.0])
def test_confident_limit(gamma, margin):
    # as v -> 1 with u = exp(-margin): h(v) -> u^-gamma / (1 + gamma), h(u) -> u
    log_q = log_psi(log_softmax(np.array([[margin, 0.0]]), axis=1), gamma)
    assert log_q[0, 1] == pytest.approx(-(1 + gamma) * margin + np.log1p(gamma), rel=1e-12)


def test_exact_zeros_and_ones():
    assert psi(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]), 2) == pytest.approx(
        np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    )


def test_negative_gamma_is_refused():
    with pytest.raises(ValueError, match="gamma"):
        psi(np.array([[0.5, 0.5]]), -1)
