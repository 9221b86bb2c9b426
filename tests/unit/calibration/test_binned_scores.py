"""Binned calibration errors against a ten-line reference, and netcal through our wrapper."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from netcal.metrics import ECE
from scipy.stats import binom

from focal_curvature.calibration import (
    calibration_error_debiased,
    expected_calibration_error,
    log_softmax,
    measure,
    noise_floor,
    reliability_table,
)
from focal_curvature.calibration.scores import adaptive_ece


def reference(confidence, correct, bins):
    """Plain loops over bins [a, b), the last one closed: ECE, MCE and average error."""
    gaps, weights = [], []
    for i in range(bins):
        low, high = np.linspace(0, 1, bins + 1)[i : i + 2]
        inside = [
            j for j, c in enumerate(confidence) if low <= c < high or (i == bins - 1 and c == 1)
        ]
        if inside:
            gaps.append(abs(np.mean([float(confidence[j]) - correct[j] for j in inside])))
            weights.append(len(inside) / len(confidence))
    return np.dot(gaps, weights), max(gaps), np.mean(gaps)


def binary(confidence, correct):
    """Two-class log-probabilities whose top-label confidence (>= .5) and correctness are given."""
    with np.errstate(divide="ignore"):
        log_probabilities = np.log(np.stack([confidence, 1 - np.asarray(confidence)], axis=1))
    return log_probabilities, np.where(correct, 0, 1)


EDGES = np.linspace(0, 1, 16)
pairs = st.lists(
    st.tuples(
        st.one_of(st.floats(0.0, 1.0), st.sampled_from(EDGES.tolist())),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [
        ([1.0, 1.0, 1.0, 1.0], [1, 1, 0, 1]),
        ([0.6, 0.6, np.nextafter(0.6, 0), 0.8, 1.0], [1, 0, 1, 0, 1]),
        (EDGES[8:], [1, 0, 1, 0, 1, 1, 0, 1]),
        ([0.7], [1]),
    ],
    ids=["all one", "bin edge", "every edge", "one sample"],
)
def test_edge_cases_agree_with_the_reference(confidence, correct):
    confidence, correct = np.array(confidence), np.array(correct)
    # log and exp move a confidence by an ulp, so compare on the confidences that arrive
    log_probabilities, labels = binary(confidence, correct)
    arrived = np.exp(log_probabilities.max(axis=1))
    scores = measure(np.maximum(log_probabilities, -700), labels)
    expected = reference(arrived, correct, 15)
    found = (scores.ece, scores.mce, scores.average_calibration_error)
    assert found == pytest.approx(expected, abs=1e-12)
    ours = expected_calibration_error(confidence, correct, 15)
    assert ours == pytest.approx(reference(confidence, correct, 15)[0], abs=1e-12)


def test_an_exact_edge_belongs_to_the_upper_bin():
    table = reliability_table(np.array([EDGES[9], np.nextafter(EDGES[9], 0)]), np.ones(2), 15)
    assert [row["bin"] for row in table if row["count"]] == [8, 9]


def test_ten_classes_with_two_labels_present():
    rng = np.random.default_rng(1)
    log_probabilities = log_softmax(rng.normal(size=(40, 10)) * 3)
    labels = rng.integers(0, 2, 40)
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == labels
    with pytest.raises(RuntimeError):
        ECE(15).measure(np.exp(log_probabilities), labels)
    assert measure(log_probabilities, labels).ece == pytest.approx(
        reference(confidence, correct, 15)[0], abs=1e-12
    )


@pytest.mark.parametrize("bins", [1, 10, 15, np.int64(15)])
def test_equals_netcal_on_the_multi_class_problem(bins):
    rng = np.random.default_rng(2)
    log_probabilities = log_softmax(rng.normal(size=(500, 7)) * 4)
    labels = rng.integers(0, 7, 500)
    direct = ECE(int(bins)).measure(np.exp(log_probabilities), labels)
    assert measure(log_probabilities, labels, bins).ece == pytest.approx(direct, abs=1e-15)


@given(pairs, st.integers(1, 20))
def test_table_sums_to_netcals_error(data, bins):
    confidence, correct = (np.array(column) for column in zip(*data, strict=True))
    table = reliability_table(confidence, correct, bins)
    error = sum(row["count"] * abs(row["gap"]) for row in table if row["count"]) / len(data)
    assert sum(row["count"] for row in table) == len(data)
    # two distinct values make it netcal's binary problem, so does a single one
    assert error == pytest.approx(ECE(bins).measure(confidence, correct.astype(int)), abs=1e-12)
    assert error == pytest.approx(expected_calibration_error(confidence, correct, bins), abs=1e-12)


@given(pairs, st.integers(1, 20), st.randoms(use_true_random=False))
def test_errors_do_not_depend_on_the_order_and_lie_between_gap_and_one(data, bins, random):
    def errors(rows):
        confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
        return (
            expected_calibration_error(confidence, correct, bins),
            adaptive_ece(confidence, correct, bins),
            abs(np.mean(confidence - correct)),
        )

    width, count, gap = errors(data)
    assert errors(random.sample(data, len(data))) == pytest.approx((width, count, gap), abs=1e-12)
    assert gap - 1e-12 <= width <= 1
    assert gap - 1e-12 <= count <= 1


def test_adaptive_error_of_a_hand_made_case():
    confidence = np.array([0.6, 0.6, 0.9, 0.9])
    # two bins: mean gap .6 - .5 and .9 - 1; ties share their accuracy, whatever the order
    assert adaptive_ece(confidence, np.array([1, 0, 1, 1]), 2) == pytest.approx(0.1)
    assert adaptive_ece(confidence, np.array([0, 1, 1, 1]), 4) == pytest.approx(0.1)
    assert adaptive_ece(np.ones(50), np.arange(50) < 40, 15) == pytest.approx(0.2)


def test_perfect_predictor_scores_zero():
    labels = np.arange(30) % 3
    scores = measure(log_softmax(np.eye(3)[labels] * 800), labels)
    assert (scores.accuracy, scores.mean_confidence) == (1.0, 1.0)
    zero = (
        "confidence_gap nll nll_refinement nll_calibration brier ece mce "
        "average_calibration_error adaptive_ece classwise_ece calibration_error_debiased "
        "smooth_ece noise_floor noise_floor_95"
    )
    for name in zero.split():
        assert getattr(scores, name) == pytest.approx(0, abs=1e-12), name


def test_constant_predictor_has_closed_forms():
    confidence, accuracy, samples = 0.7, 0.5, 100
    log_probabilities = np.log(np.tile([confidence, 0.2, 0.1], (samples, 1)))
    labels = np.repeat([0, 1], samples // 2)
    scores = measure(log_probabilities, labels)
    gap = confidence - accuracy
    assert scores.confidence_gap == pytest.approx(gap)
    errors = (scores.ece, scores.mce, scores.average_calibration_error, scores.adaptive_ece)
    assert errors == pytest.approx([gap] * 4)
    assert scores.smooth_ece == pytest.approx(gap, rel=0.01)
    assert scores.classwise_ece == pytest.approx((0.2 + 0.3 + 0.1) / 3)
    assert scores.nll == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2)
    right, wrong = 0.3**2 + 0.2**2 + 0.1**2, 0.7**2 + 0.8**2 + 0.1**2
    assert scores.brier == pytest.approx((right + wrong) / 2)


def test_under_confidence_has_a_negative_gap():
    labels = np.zeros(50, dtype=int)
    assert measure(np.log(np.tile([0.6, 0.4], (50, 1))), labels).confidence_gap < -0.39


def debiased_reference(confidence, correct, bins):
    """Kumar et al.'s estimator in plain loops: quantile edges, then one term per bin."""
    ordered = sorted(confidence)
    parts = [list(part) for part in np.array_split(ordered, min(bins, len(ordered)))]
    edges = sorted({(a[-1] + b[0]) / 2 for a, b in pairwise(parts)})
    total = 0.0
    for low, high in zip([-1, *edges], [*edges, 2], strict=True):
        inside = [j for j, c in enumerate(confidence) if low < c <= high]
        if len(inside) > 1:
            accuracy = np.mean([float(correct[j]) for j in inside])
            gap = np.mean([confidence[j] for j in inside]) - accuracy
            variance = accuracy * (1 - accuracy) / (len(inside) - 1)
            total += len(inside) * (gap**2 - variance)
    return total / len(confidence)


@given(pairs, st.integers(1, 20))
def test_debiased_error_equals_its_reference(data, bins):
    confidence, correct = (np.array(column) for column in zip(*data, strict=True))
    expected = debiased_reference(confidence, correct, bins)
    assert calibration_error_debiased(confidence, correct, bins) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_debiased_error_is_the_squared_gap_on_average_whatever_the_sample(gap):
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(3000):
        confidence = rng.uniform(0.3, 0.9, 100)
        correct = rng.random(100) < confidence - gap
        draws.append(calibration_error_debiased(confidence, correct, 15))
    error = np.std(draws) / np.sqrt(len(draws))
    assert np.mean(draws) == pytest.approx(gap**2, abs=4 * error)
    assert error < 3e-4  # the plug-in error of calibrated predictions is .03 here


@pytest.mark.parametrize("p", [0.8, 0.03], ids=["inner bin", "first bin"])
def test_noise_floor_of_one_bin_is_the_mean_deviation_of_a_binomial(p):
    samples = 400
    hits = np.arange(samples + 1)
    expected = np.sum(binom.pmf(hits, samples, p) * np.abs(hits / samples - p))
    mean, upper = noise_floor(np.full(samples, p), 15, seed=0, repetitions=4000)
    assert mean == pytest.approx(expected, rel=0.05)
    assert upper == pytest.approx(1.96 * np.sqrt(p * (1 - p) / samples), abs=1 / samples)


def test_noise_floor_covers_a_calibrated_predictor_and_is_seeded():
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.3, 1, 2000)
    mean, upper = noise_floor(confidence, 15, seed=5, repetitions=3000)
    own = [
        expected_calibration_error(confidence, rng.random(2000) < confidence, 15)
        for _ in range(3000)
    ]
    assert mean == pytest.approx(np.mean(own), rel=0.02)
    assert np.mean(np.array(own) > upper) == pytest.approx(0.05, abs=0.015)
    floor = noise_floor(confidence, 15, seed=5)
    assert floor == noise_floor(confidence, 15, seed=5) != noise_floor(confidence, 15, seed=6)
