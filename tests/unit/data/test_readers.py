"""Tiny archives in each original format, decoded to the very pixels that went in."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from focal_curvature.data import arrays, readers, sources
from focal_curvature.data.readers import decode

RANDOM = np.random.default_rng(0)


def registry(tmp_path: Path, dataset: str, files: list[Path], over: str = "archive") -> Path:
    table = tmp_path / "sources.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["dataset", "archive", "over", "sha256", "bytes", "mirrors", "grounds"])
        for file in files:
            content = file.read_bytes()
            if over == "content":
                content = gzip.decompress(content)
            digest = hashlib.sha256(content).hexdigest()
            writer.writerow([dataset, file.name, over, digest, len(content), "", "test"])
    return table


def pixels(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count: int, classes: int = 10) -> np.ndarray:
    return RANDOM.integers(0, classes, count, dtype=np.uint8)


def idx(path: Path, values: np.ndarray) -> Path:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))
    return path


def python2(value: object) -> bytes:
    """Pickle as Python 2's cPickle and the NumPy of its day did (protocol 2, without memo)."""
    match value:
        case np.ndarray():
            dtype = (
                b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + b"J\xff\xff\xff\xff" * 2
            )
            return (
                b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
                + python2(value.shape)
                + dtype
                + b"K\x00tb\x89"
                + python2(value.tobytes().decode("latin1"))
                + b"tb"
            )
        case str():
            return b"T" + struct.pack("<i", len(value)) + value.encode("latin1")
        case int() | np.integer():
            return b"J" + struct.pack("<i", value)
        case tuple():
            return b"(" + b"".join(map(python2, value)) + b"t"
        case list():
            return b"(" + b"".join(map(python2, value)) + b"l"
        case dict():
            return b"(" + b"".join(python2(x) for item in value.items() for x in item) + b"d"
    raise TypeError(value)


def tarball(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def check(folder: Path, train: tuple, test: tuple, classes: list[str], hashes: list[str]) -> None:
    """Hold a decoded data set against images (N, C, H, W) and labels of its two pools."""
    found = arrays.read(folder)
    assert found.pools == {
        "train": [0, len(train[0])],
        "test": [len(train[0]), len(train[0]) + len(test[0])],
    }
    np.testing.assert_array_equal(found.images, np.concatenate([train[0], test[0]]))
    np.testing.assert_array_equal(found.labels, np.concatenate([train[1], test[1]]))
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    assert found.classes == classes
    assert found.scale == 255
    about = json.loads((folder / "dataset.json").read_text())
    assert [source["sha256"] for source in about["sources"]] == hashes


def test_every_registered_data_set_has_a_reader():
    formats = {sources.facts(name).format for name in sources.registered()}
    assert formats == set(readers.READERS)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("over", ["archive", "content"])
def test_idx(tmp_path, dataset, over):
    train, test = (pixels(5, 4, 3), labels(5)), (pixels(2, 4, 3), labels(2))
    files = [
        idx(tmp_path / f"{number}.gz", values) for number, values in enumerate((*train, *test))
    ]
    table = registry(tmp_path, dataset, files, over)
    decode(dataset, files, tmp_path / "out", table)
    check(
        tmp_path / "out",
        (train[0][:, None], train[1]),
        (test[0][:, None], test[1]),
        list(sources.facts(dataset).classes),
        [archive.sha256 for archive in sources.archives(dataset, table)],
    )


def test_class_names_are_torchvisions():
    from torchvision import datasets

    assert tuple(datasets.FashionMNIST.classes) == sources.facts("fashion_mnist").classes
    assert tuple(datasets.KMNIST.classes) == sources.facts("kmnist").classes


def cifar10(path: Path, batches: list[tuple], test: tuple) -> Path:
    names = [f"data_batch_{number}" for number in range(1, 6)]
    members = {
        name: {"data": images.reshape(-1, 3072), "labels": answers.tolist(), "filenames": ["a"]}
        for name, (images, answers) in zip([*names, "test_batch"], [*batches, test], strict=True)
    } | {"batches.meta": {"label_names": list("abcdefghij")}}
    return tarball(
        path,
        {
            f"cifar-10-batches-py/{name}": b"\x80\x02" + python2(content) + b"."
            for name, content in reversed(members.items())
        },
    )


def test_cifar10(tmp_path):
    batches = [(pixels(n, 3, 32, 32), labels(n)) for n in (1, 2, 3, 1, 2)]
    test = pixels(2, 3, 32, 32), labels(2)
    file = cifar10(tmp_path / "cifar.tar.gz", batches, test)
    table = registry(tmp_path, "cifar10", [file])
    decode("cifar10", [file], tmp_path / "out", table)
    train = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    check(tmp_path / "out", train, test, list("abcdefghij"), [arrays.sha256(file)])


def test_cifar100_uses_the_fine_labels(tmp_path):
    pools = {
        "train": (pixels(4, 3, 32, 32), labels(4, 100)),
        "test": (pixels(2, 3, 32, 32), labels(2)),
    }
    classes = [f"class {number}" for number in range(100)]
    members = {
        pool: {
            "data": images.reshape(-1, 3072),
            "coarse_labels": [0] * len(images),
            "fine_labels": answers.tolist(),
        }
        for pool, (images, answers) in pools.items()
    } | {"meta": {"coarse_label_names": ["all"], "fine_label_names": classes}}
    file = tarball(
        tmp_path / "cifar.tar.gz",
        {f"cifar-100-python/{n}": b"\x80\x02" + python2(c) + b"." for n, c in members.items()},
    )
    decode("cifar100", [file], tmp_path / "out", registry(tmp_path, "cifar100", [file]))
    check(tmp_path / "out", *pools.values(), classes, [arrays.sha256(file)])


def test_pickles_run_nothing(tmp_path):
    """The right hash on a wrong registry must not be enough to run code."""
    ran = tmp_path / "ran"
    evil = (
        b"\x80\x02cpathlib\nPath\n" + python2((str(ran),)) + b"Rcpathlib\nPath.touch\n" + b"\x85R."
    )
    members = {f"cifar-10-batches-py/data_batch_{number}": evil for number in range(1, 6)}
    file = tarball(tmp_path / "cifar.tar.gz", members)
    with pytest.raises(pickle.UnpicklingError, match=r"pathlib\.Path is not allowed"):
        decode("cifar10", [file], tmp_path / "out", registry(tmp_path, "cifar10", [file]))
    assert not ran.exists()
    assert not (tmp_path / "out").exists()


def test_svhn_turns_label_10_into_0(tmp_path):
    pools = [(pixels(12, 3, 32, 32), np.r_[1:11, 10, 3]), (pixels(3, 3, 32, 32), np.r_[10, 9, 1])]
    files = [tmp_path / "train.mat", tmp_path / "test.mat"]
    for file, (images, answers) in zip(files, pools, strict=True):
        savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": answers[:, None].astype(np.uint8)})
    decode("svhn", files, tmp_path / "out", registry(tmp_path, "svhn", files))
    train, test = pools
    check(
        tmp_path / "out",
        (train[0], np.r_[1:10, 0, 0, 3]),
        (test[0], np.r_[0, 9, 1]),
        [str(digit) for digit in range(10)],
        [arrays.sha256(file) for file in files],
    )


def test_archive_that_changed_after_its_download_is_refused(tmp_path):
    files = [idx(tmp_path / f"{number}.gz", labels(3)) for number in range(4)]
    table = registry(tmp_path, "mnist", files, "content")
    idx(files[2], labels(3))
    with pytest.raises(ValueError, match=r"2\.gz: expected a decompressed content of sha256"):
        decode("mnist", files, tmp_path / "out", table)
    assert not (tmp_path / "out").exists()


def test_archives_in_another_order_are_refused(tmp_path):
    files = [idx(tmp_path / f"{number}.gz", pixels(2, 2)) for number in range(4)]
    table = registry(tmp_path, "mnist", files)
    with pytest.raises(ValueError, match="expected a file of sha256"):
        decode("mnist", files[::-1], tmp_path / "out", table)


DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_has_its_published_moments(tmp_path):
    """Mean 0.2860 and standard deviation 0.3530 of the training pixels; classes are balanced."""
    files = [DEBIAN / archive.name for archive in sources.archives("fashion_mnist")]
    decode("fashion_mnist", files, tmp_path)
    found = arrays.read(tmp_path)
    train = np.bincount(found.images[:60_000].ravel(), minlength=256) / (60_000 * 784)
    values = np.arange(256) / 255
    assert train @ values == pytest.approx(0.2860, abs=5e-5)
    assert (train @ (values - 0.2860) ** 2) ** 0.5 == pytest.approx(0.3530, abs=5e-5)
    assert found.pools == {"train": [0, 60_000], "test": [60_000, 70_000]}
    assert np.bincount(found.labels[:60_000]).tolist() == [6_000] * 10
    assert np.bincount(found.labels[60_000:]).tolist() == [1_000] * 10


@pytest.mark.parametrize(
    ("dataset", "name", "label", "factors", "train", "largest"),
    [
        ("letters", "LetterRecognition", "lettr", False, 16_000, 15),
        ("satellite", "Satellite", "classes", False, 4_435, 255),
        ("dna", "DNA", "Class", True, 2_000, 1),
    ],
)
def test_frames_of_r_keep_their_order_and_the_usual_test_part(
    dataset, name, label, factors, train, largest, tmp_path
):
    import pandas as pd
    import rdata

    count = train + 10
    values = RANDOM.integers(0, largest + 1, (count, 16))
    kind = pd.Categorical if factors else np.asarray
    columns = {f"x{i}": kind(values[:, i].astype(str if factors else float)) for i in range(16)}
    classes = np.array(list("ABC"))[np.arange(count) % 3]
    path = tmp_path / f"{name}.rda"
    rdata.write_rda(path, {name: pd.DataFrame({**columns, label: pd.Categorical(classes)})})
    out = tmp_path / "out"
    decode(dataset, [path], out, registry(tmp_path, dataset, [path]))
    found = arrays.read(out)
    np.testing.assert_array_equal(found.images[:, :, 0, 0], values)
    np.testing.assert_array_equal(found.labels, np.arange(count) % 3)
    assert (found.classes, found.scale) == (["A", "B", "C"], largest)
    assert found.pools == {"train": [0, train], "test": [train, count]}


MLBENCH = Path("/usr/lib/R/site-library/mlbench/data")


@pytest.mark.skipif(not MLBENCH.exists(), reason="Debian's r-cran-mlbench is not installed")
@pytest.mark.parametrize(
    ("dataset", "train", "test"),
    [
        # Statlog's sizes of the classes
        ("satellite", [1072, 479, 961, 415, 470, 1038], [461, 224, 397, 211, 237, 470]),
        ("dna", [464, 485, 1051], [303, 280, 603]),
    ],
)
def test_statlogs_parts_have_its_classes(dataset, train, test, tmp_path):
    decode(dataset, [MLBENCH / a.name for a in sources.archives(dataset)], tmp_path)
    found = arrays.read(tmp_path)
    parts = [found.labels[slice(*found.pools[part])] for part in ("train", "test")]
    assert [np.bincount(part).tolist() for part in parts] == [train, test]
