"""Stratified splits as lists of indices."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from focal_curvature.data.arrays import Dataset
from focal_curvature.files import REMEDY, read_json, write_json

SPLITS = ("train", "validation", "test")
Indices = NDArray[np.int64]


def stratified(labels: NDArray[np.int64], size: int, seed: int) -> tuple[Indices, Indices]:
    """Draw ``size`` positions in which classes keep their shares.

    Each class gives its share rounded down; what is missing to ``size`` comes from the classes
    with the largest remainders, ties by class.

    Parameters
    ----------
    labels : ndarray
        Shape (N,), int64.
    size : int
        How many to draw, 0 <= size <= N.
    seed : int
        Of the draw.

    Returns
    -------
    drawn, rest : ndarray
        Positions in ``labels``, int64, ascending; shapes (size,) and (N - size,).
    """
    generator = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * size / len(labels)
    take = np.floor(shares).astype(int)
    short = np.argsort(take - shares, kind="stable")[: size - take.sum()]
    take[short] += 1
    drawn = np.concatenate(
        [
            generator.permutation(np.flatnonzero(labels == k))[:n]
            for k, n in zip(classes, take, strict=True)
        ]
    )
    rest = np.setdiff1d(np.arange(len(labels)), drawn)
    return np.sort(drawn), rest


def split(
    dataset: Dataset, *, train: int | None, validation: int, test: int | None, seed: int
) -> dict[str, Indices]:
    """Split a data set into train, validation and test.

    Where there is an official test pool, test images come from it and from nowhere else; otherwise
    the one pool is divided. ``None`` takes what is left. The test images are drawn first, so that
    they do not depend on how many images train.

    Returns
    -------
    dict
        Split -> indices into the data set's arrays, int64, ascending, disjoint.

    Raises
    ------
    ValueError
        If there are too few images, or a class is missing from a split.
    """
    if "all" in dataset.pools:
        pool = np.arange(*dataset.pools["all"])
        if test is None:
            if train is None:
                raise ValueError(f"data.test: {dataset.name} has no test pool, give train or test")
            test = len(pool) - train - validation
    else:
        pool = np.arange(*dataset.pools["test"])
        test = len(pool) if test is None else test
    splits = {}

    def draw(name: str, pool: Indices, size: int, number: int) -> Indices:
        if not 0 < size <= len(pool):
            raise ValueError(
                f"data.{name}: {size} images asked of {dataset.name}, {len(pool)} left"
            )
        drawn, rest = stratified(dataset.labels[pool], size, seed + number)
        splits[name] = pool[drawn]
        missing = set(range(len(dataset.classes))) - set(dataset.labels[splits[name]].tolist())
        if missing:
            lost = ", ".join(dataset.classes[k] for k in sorted(missing))
            raise ValueError(f"data.{name}: {size} images hold none of class {lost}")
        return pool[rest]

    rest = draw("test", pool, test, 0)
    if "all" not in dataset.pools:
        rest = np.arange(*dataset.pools["train"])
    rest = draw("validation", rest, validation, 1)
    draw("train", rest, len(rest) if train is None else train, 2)
    return splits


def with_noise(
    labels: NDArray[np.int64], places: Indices, share: float, seed: int, classes: int
) -> NDArray[np.int64]:
    """Return labels (N,) of which some at ``places`` are another class, each as likely.

    Parameters
    ----------
    labels : ndarray
        Shape (N,), int64, from 0 to ``classes`` - 1; it stays as it is.
    places : ndarray
        Where labels may change, int64, shape (M,).
    share : float
        Of ``places``, rounded to whole labels, 0 to 1.
    seed : int
        Of the draw. A larger share changes the same labels, and more.
    classes : int
        At least 2.
    """
    generator = np.random.default_rng([seed, 3])  # the splits are drawn with seed, seed + 1, ...
    order = generator.permutation(len(places))
    shift = generator.integers(1, classes, len(places))
    changed = order[: round(share * len(places))]
    noisy = labels.copy()
    noisy[places[changed]] = (labels[places[changed]] + shift[changed]) % classes
    return noisy


def write(file: Path, splits: dict[str, Indices]) -> None:
    """Write the indices of every split and their checksum to one JSON file."""
    indices = {name: splits[name].tolist() for name in SPLITS}
    write_json(file, {"sha256": _checksum(indices), **indices})


def read(file: Path) -> dict[str, Indices]:
    """Read the indices of every split, int64.

    Raises
    ------
    ValueError
        If they are not the ones that were written.
    """
    indices = read_json(file)
    recorded = indices.pop("sha256", None)
    if _checksum(indices) != recorded:
        raise ValueError(f"{file}: indices do not match their sha256: {REMEDY}")
    return {name: np.array(indices[name], dtype=np.int64) for name in SPLITS}


def _checksum(indices: dict[str, list[int]]) -> str:
    return hashlib.sha256(json.dumps(indices, sort_keys=True).encode()).hexdigest()
