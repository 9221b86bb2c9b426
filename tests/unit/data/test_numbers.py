"""Arrays and tables of one's own: what is read, and what is refused with the file's name."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

from focal_curvature.data import arrays, side, splits, tensors
from focal_curvature.data.numbers import decode, shape

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(50, [1, 10, 1e-3], (60, 3))
NAMES = np.array(["b", "a", "c"] * 20)


def npz(tmp_path, **content):
    path = tmp_path / "mine.npz"
    np.savez(path, **content)
    return path


def table(tmp_path, frame, kind):
    path = tmp_path / f"mine.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    return path


def decoded(source, label=None, **arguments):
    out = source.parent / "out"
    decode(source, out, name="mine", label=label, **arguments)
    return arrays.read(out)


def refused(source, message, label=None, **arguments):
    with pytest.raises(ValueError, match=message) as error:
        decoded(source, label, **arguments)
    assert "\n" not in str(error.value)
    assert str(source) in str(error.value)
    assert not (source.parent / "out").exists()


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (VECTORS, (60, 3, 1, 1)),
        (RNG.normal(size=(60, 5, 5)).astype(np.float16), (60, 1, 5, 5)),
        (RNG.normal(size=(60, 2, 5, 5)), (60, 2, 5, 5)),
        (RNG.integers(0, 9, (60, 7)), (60, 7, 1, 1)),
        (RNG.random((60, 7)) < 0.5, (60, 7, 1, 1)),
        (RNG.integers(0, 256, (60, 3, 4, 4), dtype=np.uint8), (60, 3, 4, 4)),
    ],
)
def test_inputs_of_every_shape_and_type(tmp_path, inputs, expected):
    source = npz(tmp_path, inputs=inputs, labels=NAMES)
    found = decoded(source)
    assert found.images.shape == expected
    bytes_ = inputs.dtype == np.uint8
    assert (found.images.dtype, found.scale) == ((np.uint8, 255) if bytes_ else (np.float32, 1))
    np.testing.assert_array_equal(found.images, inputs.reshape(expected).astype(found.images.dtype))
    assert found.classes == ["a", "b", "c"]
    assert found.labels.tolist() == [1, 0, 2] * 20
    assert found.pools == {"all": [0, 60]}
    assert shape(source, None) == expected[1:3]


def test_a_test_part_is_the_test_pool(tmp_path):
    source = npz(
        tmp_path,
        inputs=VECTORS,
        labels=np.arange(60) % 2 + 5,
        test_inputs=VECTORS[:9],
        test_labels=np.array([7] * 9),
    )
    found = decoded(source)
    assert found.pools == {"train": [0, 60], "test": [60, 69]}
    assert found.classes == ["5", "6", "7"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("labels", [NAMES, np.arange(60) % 3, np.arange(60) % 2 == 0])
def test_tables(tmp_path, kind, labels):
    frame = pd.DataFrame(VECTORS, columns=["x", "y", "z"]).assign(kind=labels)
    source = table(tmp_path, frame[["x", "kind", "y", "z"]], kind)
    found = decoded(source, "kind")
    np.testing.assert_array_equal(found.images[:, :, 0, 0], VECTORS.astype(np.float32))
    classes, expected = np.unique(labels, return_inverse=True)
    assert found.classes == [str(c) for c in classes]
    np.testing.assert_array_equal(found.labels, expected)
    assert shape(source, "kind") == (3, 1)


def test_features_are_standardised_on_the_training_split(tmp_path):
    source = npz(tmp_path, inputs=VECTORS, labels=NAMES)
    indices = splits.split(decoded(source), train=30, validation=15, test=15, seed=0)
    splits.write(tmp_path / "splits.json", indices)
    loaded = tensors.load(tmp_path / "out", tmp_path / "splits.json", torch.device("cpu"))
    assert (loaded.channels, loaded.size, loaded.classes) == (3, 1, 3)
    for name in splits.SPLITS:
        kept = VECTORS[indices["train"]]
        expected = (VECTORS[indices[name]] - kept.mean(axis=0)) / kept.std(axis=0)
        found = loaded.splits[name].images
        assert found.shape == (len(expected), 3, 1, 1)
        # 50 in float32 knows the third feature's thousandth to a hundredth
        np.testing.assert_allclose(found[:, :2, 0, 0], expected[:, :2], atol=1e-4)
        np.testing.assert_allclose(found[:, 2, 0, 0], expected[:, 2], atol=0.02)


def test_a_feature_that_training_has_one_value_of_stays_finite(tmp_path):
    inputs = VECTORS.copy()
    source = npz(tmp_path, inputs=inputs, labels=NAMES)
    indices = splits.split(decoded(source), train=30, validation=15, test=15, seed=0)
    inputs[indices["train"], 1] = 7.0
    np.savez(source, inputs=inputs, labels=NAMES)
    decoded(source)
    splits.write(tmp_path / "splits.json", indices)
    loaded = tensors.load(tmp_path / "out", tmp_path / "splits.json", torch.device("cpu"))
    assert (loaded.splits["train"].images[:, 1] == 0).all()
    assert loaded.splits["test"].images.isfinite().all()


def test_a_hash_is_held_against_the_expected_one(tmp_path):
    source = npz(tmp_path, inputs=VECTORS, labels=NAMES)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    refused(source, f"expected sha256 {'0' * 64}, found {digest}", expected="0" * 64)
    assert len(decoded(source, expected=digest).labels) == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": np.zeros((60, 3, 4))}, r"inputs have shape \(60, 3, 4\), none of"),
        ({"inputs": np.zeros(60)}, r"inputs have shape \(60,\)"),
        ({"inputs": np.zeros((60, 0))}, r"inputs have shape \(60, 0\)"),
        ({"inputs": np.full((60, 3), np.nan)}, "180 values of inputs are not finite"),
        ({"inputs": np.full((60, 3), 1e300)}, "180 values of inputs are not finite in float32"),
        ({"inputs": np.full((60, 3), "a")}, "inputs are <U1, not numbers"),
        ({"inputs": np.array([[{}]] * 60)}, "cannot be read"),
        ({"labels": NAMES[:50]}, r"labels are <U1 \(50,\), not integers or names \(60,\)"),
        ({"labels": np.zeros(60)}, "labels are float64"),
        ({"labels": np.zeros(60, int)}, "0 is the only class"),
        ({"labels": None}, "no array labels: it has inputs"),
        ({"inputs": None}, "no array inputs"),
        ({"test_inputs": VECTORS}, "test_inputs and test_labels go together"),
        ({"test_inputs": VECTORS[:, :2], "test_labels": NAMES}, "inputs and test_inputs differ"),
        ({"weights": NAMES}, "array weights is none of inputs, labels"),
    ],
)
def test_arrays_that_do_not_do(tmp_path, change, message):
    content = {"inputs": VECTORS, "labels": NAMES} | change
    source = npz(tmp_path, **{key: value for key, value in content.items() if value is not None})
    refused(source, message)


FRAME = pd.DataFrame(VECTORS, columns=["x", "y", "z"]).assign(kind=NAMES)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="kind"), "no column 'kind': columns are x, y, z"),
        (FRAME.assign(y=NAMES), "column 'y' is not of numbers"),
        (FRAME.assign(y=1.5), "column 'y' is constant"),
        (FRAME.assign(y=FRAME["y"].where(FRAME["y"] > 45)), "values of column 'y' are missing"),
        (FRAME.assign(kind=FRAME["kind"].where(FRAME["x"] > 50)), "column 'kind' are missing"),
    ],
)
def test_tables_that_do_not_do(tmp_path, kind, frame, message):
    refused(table(tmp_path, frame, kind), message, "kind")


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_files_that_are_something_else(tmp_path, suffix):
    source = tmp_path / f"mine.{suffix}"
    source.write_bytes(b"\x89\xff nothing of the kind")
    refused(source, "cannot be read|no column", "kind")
    with pytest.raises(ValueError, match=f"^{source}: "):
        shape(source, "kind")


# what a configuration is told before any job


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"label": "kind"}, "^label: is for tables alone"),
        ({"source": None, "name": "digits", "label": "kind"}, "^label: is for tables"),
        ({"size": 8}, "^size: is for image files alone"),
        ({"source": "mine.csv"}, "^label: is missing: .*mine.csv: columns are x, y, z, kind"),
        ({"source": "images", "label": "kind", "size": 8}, "^label: is for tables alone"),
        ({"source": "images"}, "^size: is missing"),
        ({"source": "mine.csv", "label": "sort"}, "^source: .*mine.csv: no column 'sort'"),
    ],
)
def test_keys_that_do_not_go_with_the_source(tmp_path, section, message):
    npz(tmp_path, inputs=VECTORS, labels=NAMES)
    table(tmp_path, FRAME, "csv")
    data = {"name": "mine", "source": "mine.npz", "size": None, "label": None} | section
    with pytest.raises(ValueError, match=message):
        side(data | {"source": data["source"] and str(tmp_path / data["source"])})


def test_every_registered_data_set_has_a_side():
    from focal_curvature.data import names, size

    assert all(size(name)[1] > 0 for name in names())
