"""A data set on disk: two arrays and a description, shared by every run that uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focal_curvature.files import read_json, sha256, verify, write_atomically, write_json

IMAGES, LABELS, DESCRIPTION = "images.npy", "labels.npy", "dataset.json"


@dataclass(frozen=True)
class Dataset:
    """Images and labels of all pools, one after the other.

    Attributes
    ----------
    name : str
    images : ndarray
        Shape (N, C, H, W), uint8 or float32, memory-mapped; a vector is an image of one pixel.
    labels : ndarray
        Shape (N,), int64.
    classes : list of str
    pools : dict
        Pool -> [start, stop): ``{"all": ...}``, or the official ``{"train": ..., "test": ...}``.
    scale : int
        The largest value that a pixel can take; 1 for float32.
    """

    name: str
    images: NDArray[np.uint8 | np.float32]
    labels: NDArray[np.int64]
    classes: list[str]
    pools: dict[str, list[int]]
    scale: int


def write(
    folder: Path,
    *,
    name: str,
    images: NDArray[np.uint8 | np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    pools: Mapping[str, Sequence[int]],
    scale: int,
    sources: Sequence[Mapping[str, Any]],
) -> None:
    """Write ``images.npy``, ``labels.npy`` and ``dataset.json`` (with their checksums).

    Parameters
    ----------
    folder : Path
        Made if need be.
    images : ndarray
        Shape (N, C, H, W), uint8 or float32.
    labels : ndarray
        Shape (N,), int64, below ``len(classes)``.
    sources : sequence of mappings
        What the arrays were made from: at least a name and a hash for each.

    Raises
    ------
    ValueError
        If shapes, dtypes or labels do not fit together.
    """
    if images.dtype not in (np.uint8, np.float32) or images.ndim != 4:
        raise ValueError(
            f"{name}: images are {images.dtype} {images.shape}, not uint8 or float32 (N, C, H, W)"
        )
    if labels.shape != (len(images),) or not np.isin(labels, range(len(classes))).all():
        raise ValueError(
            f"{name}: labels do not fit {len(images)} images of {len(classes)} classes"
        )
    hashes = {}
    for file, array in ((IMAGES, images), (LABELS, labels.astype(np.int64))):
        with write_atomically(folder / file) as stream:
            np.save(stream, np.ascontiguousarray(array))
        hashes[file] = sha256(folder / file)
    description = {
        "name": name,
        "classes": list(classes),
        "shape": list(images.shape),
        "pools": {pool: list(span) for pool, span in pools.items()},
        "scale": scale,
        "sha256": hashes,
        "sources": [dict(source) for source in sources],
    }
    write_json(folder / DESCRIPTION, description)


def read(folder: Path) -> Dataset:
    """Open a data set; images stay on disk until they are used.

    Raises
    ------
    ValueError
        If an array is not the one that the description's checksum names.
    """
    about = read_json(folder / DESCRIPTION)
    for file, expected in about["sha256"].items():
        verify(folder / file, expected)
    return Dataset(
        name=about["name"],
        images=np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False),
        labels=np.load(folder / LABELS, allow_pickle=False),
        classes=about["classes"],
        pools=about["pools"],
        scale=about["scale"],
    )
