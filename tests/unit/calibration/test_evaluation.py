"""The entry point: variants, invariances, messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from focal_curvature import calibration
from focal_curvature.calibration import expected_calibration_error, log_softmax, score


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(1200, 6))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return 2 * logits[:800], labels[:800], 2 * logits[800:], labels[800:]


@pytest.fixture(scope="module")
def result(data):
    return score(*data, gamma=2.0, seed=3)


def test_over_confident_logits_are_mended(result):
    assert result.temperature == pytest.approx(2, rel=0.15)
    assert result.before.confidence_gap > 0.03
    assert abs(result.after.confidence_gap) < 0.03
    assert result.after.nll < result.before.nll
    assert result.psi.mean_confidence > result.before.mean_confidence


def test_accuracy_is_the_same_in_all_variants(result):
    assert result.before.accuracy == result.after.accuracy == result.psi.accuracy


def test_record_is_json_and_the_rows_are_apart(result):
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["samples"] == 800
    assert record["validation_samples"] == 400
    assert (record["classes"], record["bins"], record["gamma"], record["seed"]) == (6, 15, 2, 3)
    assert record["psi"]["ece"] == result.psi.ece
    assert "reliability" not in record
    assert [row["variant"] for row in result.reliability] == [
        variant for variant in ("before", "after", "psi") for _ in range(15)
    ]
    for variant in ("before", "after", "psi"):
        rows = [row for row in result.reliability if row["variant"] == variant and row["count"]]
        error = sum(row["count"] * abs(row["gap"]) for row in rows) / 800
        assert error == pytest.approx(getattr(result, variant).ece, abs=1e-12)


@pytest.mark.parametrize("gamma", [None, 0, 0.0])
def test_no_map_without_gamma(data, gamma):
    result = score(*data, gamma=gamma)
    assert result.psi is None
    assert {row["variant"] for row in result.reliability} == {"before", "after"}


def test_repeats_exactly_and_ignores_shifts_and_types(data, result):
    assert score(*data, gamma=2.0, seed=3) == result
    test, labels, validation, validation_labels = data
    half = score(
        test.astype(np.float32) + np.float32(100),
        labels.astype(np.int32),
        validation.astype(np.float32),
        validation_labels,
        np.int64(15),
        gamma=2.0,
        seed=3,
    )
    # float32 rounding near a bin edge may move a sample to the next bin
    assert half.before.ece == pytest.approx(result.before.ece, abs=1 / 800)
    assert half.before.nll == pytest.approx(result.before.nll, rel=1e-4)
    json.dumps(half.to_dict())


def test_class_order_does_not_matter(data, result):
    permutation = np.random.default_rng(1).permutation(6)
    test, labels, validation, validation_labels = data
    inverse = np.argsort(permutation)
    renamed = score(
        test[:, permutation],
        inverse[labels],
        validation[:, permutation],
        inverse[validation_labels],
        gamma=2.0,
        seed=3,
    )
    for variant in ("before", "after", "psi"):
        found, expected = getattr(renamed, variant), getattr(result, variant)
        # a sum in another order may carry a confidence over a bin's edge, rarely more than one
        assert found.classwise_ece == pytest.approx(expected.classwise_ece, abs=2 / 800)
        assert found.brier == pytest.approx(expected.brier, rel=1e-9)
        assert found.nll == pytest.approx(expected.nll, rel=1e-6)


def test_temperature_never_sees_the_test_split(data):
    test, labels, validation, validation_labels = data
    other = score(test[:100] * 5, labels[:100], validation, validation_labels)
    assert other.temperature == score(*data).temperature


def test_ece_criterion_is_used(data):
    by_ece = score(*data, criterion="ece")
    assert round(by_ece.temperature * 10) == pytest.approx(by_ece.temperature * 10)
    assert by_ece.criterion == "ece"


def test_recalibrations_are_scored_where_asked_for(data, result):
    assert result.recalibrations == {}
    names = ["isotonic", "focal_temperature"]
    found = score(*data, gamma=2.0, seed=3, recalibrations=names)
    assert list(found.recalibrations) == names
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for name in names:
        assert abs(record["recalibrations"][name]["scores"]["confidence_gap"]) < 0.04
    with pytest.raises(ValueError, match="'platt' is none of vector"):
        score(*data, recalibrations=["platt"])


def test_bad_input_is_named(data):
    test, labels, validation, validation_labels = data
    broken = test.copy()
    broken[[4, 9], 0] = np.nan
    with pytest.raises(
        ValueError, match=r"^test: 2 of 800 samples have logits that are not finite"
    ):
        score(broken, labels, validation, validation_labels)
    with pytest.raises(ValueError, match=r"^test: labels must be integers from 0 to 5"):
        score(test, labels + 1, validation, validation_labels)
    with pytest.raises(ValueError, match=r"^validation: logits must have shape"):
        score(test, labels, validation[:-1], validation_labels)
    with pytest.raises(ValueError, match=r"^test: logits must have shape"):
        score(test[:0], labels[:0], validation, validation_labels)
    with pytest.raises(ValueError, match="gamma must be at least 0, not -1"):
        score(*data, gamma=-1)
    with pytest.raises(ValueError, match="bins must be at least 1, not 0"):
        score(*data, bins=0)
    with pytest.raises(ValueError, match="of 6 and 7 classes"):
        score(test, labels, np.pad(validation, [(0, 0), (0, 1)]), validation_labels)


@pytest.mark.parametrize("name", ["test", "validation"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_not_taken_for_logits(data, name, dtype):
    arrays = list(data)
    place = {"test": 0, "validation": 2}[name]
    arrays[place] = np.exp(log_softmax(arrays[place])).astype(dtype)
    with pytest.raises(ValueError, match=f"^{name}: logits are probabilities"):
        score(*arrays)


def test_tensors_are_scored_as_arrays_are(data, result):
    tensors = [torch.tensor(values) for values in data]
    tensors[0].requires_grad_(True)
    assert score(*tensors, gamma=2.0, seed=3) == result
    tensors[::2] = [values.bfloat16() for values in tensors[::2]]
    assert score(*tensors).before.ece == pytest.approx(result.before.ece, abs=0.02)


def test_import_and_training_time_error_need_numpy_alone():
    code = (
        "import sys, numpy as np, focal_curvature.calibration as c;"
        "c.expected_calibration_error(np.array([.5]), np.array([1]), 15);"
        "print([m for m in ('torch', 'scipy', 'netcal', 'relplot') if m in sys.modules])"
    )
    source = str(Path(calibration.__file__).parents[2])
    found = subprocess.check_output(
        [sys.executable, "-c", code], text=True, env={"PYTHONPATH": source}
    )
    assert found.strip() == "[]"


def test_numpy_error_is_the_scored_one(data, result):
    log_probabilities = log_softmax(data[0])
    ours = expected_calibration_error(
        np.exp(log_probabilities.max(axis=1)), log_probabilities.argmax(axis=1) == data[1], 15
    )
    assert ours == pytest.approx(result.before.ece, abs=1e-12)
