"""The public data sets in their original formats, decoded once into shared arrays."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focal_curvature.data import arrays
from focal_curvature.data.sources import TABLE, archives, facts, refusal

# images (N, C, H, W), or vectors (N, D, 1, 1), uint8, and labels (N,), integer
Pool = tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]


def decode(dataset: str, files: Sequence[Path], folder: Path, table: Path = TABLE) -> None:
    """Write the arrays and the description of a public data set from its archives.

    Parameters
    ----------
    dataset : str
        One that the registry of this package has facts of.
    files : sequence of Path
        The archives, in the order of ``sources.archives(dataset)``.
    folder : Path
        Where to write ``images.npy``, ``labels.npy`` and ``dataset.json``.
    table : Path
        Registry to hold the archives against.

    Raises
    ------
    ValueError
        If the data set is unknown, or a file is not the registered archive.
    """
    registered = archives(dataset, table)
    for archive, file in zip(registered, files, strict=True):
        reason = refusal(archive, file)
        if reason:
            raise ValueError(f"{file}: {reason}")
    about = facts(dataset)
    (images, labels), (test_images, test_labels), classes = READERS[about.format](*files)
    arrays.write(
        folder,
        name=dataset,
        images=np.concatenate([images, test_images]),
        labels=np.concatenate([labels, test_labels]).astype(np.int64),
        classes=classes or list(about.classes),
        pools={"train": [0, len(images)], "test": [len(images), len(images) + len(test_images)]},
        scale=about.scale,
        sources=[
            {"name": archive.name, "sha256": archive.sha256, "over": archive.over}
            for archive in registered
        ],
    )


def _idx(file: Path) -> NDArray[np.uint8]:
    """Read LeCun's format: 0, 0, 8 (for bytes), number of axes; big-endian sizes; values."""
    with gzip.open(file) as stream:
        axes = stream.read(4)[3]
        shape = np.frombuffer(stream.read(4 * axes), ">u4")
        return np.frombuffer(stream.read(), np.uint8).reshape(shape)


def _mnist(*files: Path) -> tuple[Pool, Pool, list[str]]:
    images, labels, test_images, test_labels = map(_idx, files)
    return (images[:, None], labels), (test_images[:, None], test_labels), []


class _ArraysOnly(pickle.Unpickler):
    """Unpickle arrays and plain types: no name in a file may lead to code that runs."""

    def find_class(self, module: str, name: str) -> Any:
        # what Python 2 wrote; NumPy has since moved the first one
        allowed = {
            "numpy.core.multiarray._reconstruct": np.zeros(0).__reduce__()[0],
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": np.dtype,
        }
        if f"{module}.{name}" not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")
        return allowed[f"{module}.{name}"]


def _unpickle(tar: tarfile.TarFile, member: str) -> dict[str, Any]:
    stream = tar.extractfile(member)
    if stream is None:
        raise ValueError(f"{tar.name}: {member} is not a file")
    return _ArraysOnly(stream, encoding="latin1").load()


def _join(batches: list[dict[str, Any]], key: str) -> Pool:
    """Join Krizhevsky's batches: rows of 3,072 bytes, colour by colour, and lists of labels."""
    images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    return images, np.concatenate([batch[key] for batch in batches])


def _cifar10(file: Path) -> tuple[Pool, Pool, list[str]]:
    folder = "cifar-10-batches-py"
    with tarfile.open(file) as tar:
        train = [_unpickle(tar, f"{folder}/data_batch_{number}") for number in range(1, 6)]
        test = [_unpickle(tar, f"{folder}/test_batch")]
        classes = _unpickle(tar, f"{folder}/batches.meta")["label_names"]
    return _join(train, "labels"), _join(test, "labels"), classes


def _cifar100(file: Path) -> tuple[Pool, Pool, list[str]]:
    folder = "cifar-100-python"
    with tarfile.open(file) as tar:
        train = [_unpickle(tar, f"{folder}/train")]
        test = [_unpickle(tar, f"{folder}/test")]
        classes = _unpickle(tar, f"{folder}/meta")["fine_label_names"]
    return _join(train, "fine_labels"), _join(test, "fine_labels"), classes


def _svhn(*files: Path) -> tuple[Pool, Pool, list[str]]:
    from scipy.io import loadmat

    # (H, W, C, N); the digit 0 is labelled 10
    train, test = (
        (content["X"].transpose(3, 2, 0, 1), content["y"].ravel() % 10)
        for content in map(loadmat, files)
    )
    return train, test, []


def _mlbench(name: str, label: str, train: int, file: Path) -> tuple[Pool, Pool, list[str]]:
    """Read a data frame of R's mlbench: whole numbers from 0 to 255 and a column of labels.

    The first rows are those that the data's authors, and others after them, train on.
    """
    import rdata

    # the file does not say so, and is ASCII
    table = rdata.read_rda(file, default_encoding="ascii")[name]
    numbers = table.drop(columns=label).astype(float)  # some are factors, whose levels are numbers
    values = numbers.to_numpy().astype(np.uint8)[:, :, None, None]
    labels = table[label].cat.codes.to_numpy().astype(np.int64)
    pools = ((values[part], labels[part]) for part in (slice(train), slice(train, None)))
    return *pools, list(table[label].cat.categories)


# Format of the archives -> what reads them; no classes where the archives do not name them.
READERS: dict[str, Callable[..., tuple[Pool, Pool, list[str]]]] = {
    "idx": _mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    # Frey and Slate 1991
    "letters": partial(_mlbench, "LetterRecognition", "lettr", 16_000),
    # Statlog (Michie, Spiegelhalter and Taylor 1994)
    "satellite": partial(_mlbench, "Satellite", "classes", 4_435),
    "dna": partial(_mlbench, "DNA", "Class", 2_000),
}
