"""Temperature scaling recovers what is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from focal_curvature.calibration import fit_temperature, measure, refinement
from focal_curvature.calibration import log_softmax as ours


def drawn(samples=800, classes=5, seed=0):
    """Logits and labels drawn from their softmax, whose best temperature is near 1."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(samples, classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.2, 5), st.integers(0, 5))
def test_scaled_logits_scale_the_temperature(scale, seed):
    logits, labels = drawn(seed=seed)
    original = fit_temperature(logits, labels).value
    assert original == pytest.approx(1, abs=0.2)
    assert fit_temperature(scale * logits, labels).value == pytest.approx(
        scale * original, rel=1e-5
    )


def test_gradient_vanishes_at_the_temperature():
    logits, labels = drawn(seed=7)
    beta = 1 / fit_temperature(logits, labels).value
    probabilities = np.exp(log_softmax(beta * logits, axis=1))
    picked = logits[np.arange(len(labels)), labels]
    assert np.mean((probabilities * logits).sum(axis=1) - picked) == pytest.approx(0, abs=1e-5)


def test_two_classes_have_a_closed_form():
    # margin m right with share q: the best temperature turns m into the log odds of q
    labels = (np.arange(100) >= 90).astype(int)
    logits = np.tile([4.0, 0.0], (100, 1))
    assert fit_temperature(logits, labels).value == pytest.approx(4 / np.log(9), rel=1e-6)


def test_shifting_a_sample_changes_nothing():
    logits, labels = drawn()
    shift = np.linspace(-500, 500, len(labels))[:, None]
    assert fit_temperature(logits + shift, labels).value == pytest.approx(
        fit_temperature(logits, labels).value, rel=1e-6
    )


def test_ece_criterion_takes_the_best_of_the_grid():
    labels = (np.arange(100) >= 90).astype(int)
    # one bin holds all, so the error is |sigmoid(4 / T) - .9|, least at the grid's 1.8
    assert fit_temperature(np.tile([4.0, 0.0], (100, 1)), labels, "ece") == (
        pytest.approx(1.8),
        False,
    )


@pytest.mark.parametrize("scale", [1e-6, 0.01, 50, 1e9])
def test_the_search_has_no_bounds(scale):
    logits, labels = drawn()
    found = fit_temperature(scale * logits, labels)
    assert found.value == pytest.approx(scale * fit_temperature(logits, labels).value, rel=1e-5)
    assert not found.at_bound


@pytest.mark.parametrize(
    ("logits", "labels", "value"),
    [
        (np.eye(4) * 30, np.arange(4), 0.05),
        (np.zeros((4, 4)), np.arange(4), 0.05),
        (-np.eye(4), np.arange(4), 20),
    ],
    ids=["no wrong prediction", "constant", "worse than chance"],
)
def test_a_temperature_that_data_do_not_determine_is_flagged(logits, labels, value):
    assert fit_temperature(logits, labels) == (value, True)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_an_end_of_the_grid_is_flagged(scale):
    logits, labels = drawn()
    assert not fit_temperature(logits, labels, "ece").at_bound
    assert fit_temperature(scale * logits, labels, "ece").at_bound


# not beyond: probmetrics scales probabilities, which underflow where logits do not
@pytest.mark.parametrize("scale", [0.02, 1, 3, 8])
def test_refinement_is_probmetrics(scale):
    import torch
    from probmetrics.calibrators import get_calibrator
    from probmetrics.metrics import LogLoss, MetricsWithCalibration
    from probmetrics.splitters import AllSplitter

    logits, labels = drawn(seed=3)
    log_probabilities = ours(scale * logits)
    oracle = MetricsWithCalibration(LogLoss(), get_calibrator("temp-scaling"), AllSplitter(), "ts")
    expected = oracle.compute_all_from_labels_logits(
        torch.from_numpy(labels), torch.from_numpy(log_probabilities)
    )
    scores = measure(log_probabilities, labels)
    found = (scores.nll_refinement, scores.nll_calibration)
    assert found == pytest.approx(
        [expected[f"{part}_logloss_ts_all"].item() for part in ("refinement", "calib-err")],
        abs=1e-6,
    )
    assert scores.nll == pytest.approx(sum(found), rel=1e-12)


def test_scaling_changes_calibration_and_not_refinement():
    logits, labels = drawn(seed=5)
    best, worse = (
        measure(ours(logits / t), labels) for t in (fit_temperature(logits, labels).value, 9)
    )
    assert best.nll_refinement == pytest.approx(worse.nll_refinement, abs=1e-9)
    assert 0 <= best.nll_calibration < 1e-9 < 0.1 < worse.nll_calibration


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        (np.eye(4), np.arange(4), 0),
        ([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]], [0, 1], np.log(2) / 2),
        (-np.eye(4), np.arange(4), np.log(4)),
    ],
    ids=["no wrong prediction", "a tie", "worse than chance"],
)
def test_refinement_without_a_best_temperature_is_the_limit(logits, labels, expected):
    assert refinement(np.array(logits), np.array(labels)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_one_clear_error(bad):
    logits, labels = drawn()
    logits[3, 1] = bad
    with pytest.raises(ValueError, match=r"validation: 1 of 800 samples have logits that are not"):
        fit_temperature(logits, labels)


def test_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="'brier'"):
        fit_temperature(*drawn(), criterion="brier")
