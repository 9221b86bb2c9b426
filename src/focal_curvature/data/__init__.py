"""Data sets: where they come from, their arrays on disk, their splits, tensors for training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from focal_curvature.data.sources import registered

# Suffixes of one's own data that are numbers and not images; see `focal_curvature.data.numbers`.
ARRAYS, TABLES = (".npz",), (".csv", ".parquet")
# Side of the images in pixels; 1 for vectors.
SIDES = {
    "digits": 8,
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), 28),
    **dict.fromkeys(("cifar10", "cifar100", "svhn"), 32),
    "letters": 1,
}


def names() -> list[str]:
    """Return the data sets that a configuration may name without a source of its own."""
    return ["digits", *registered()]


def side(data: Mapping[str, Any]) -> int:
    """Return the side in pixels of a configuration's data, 1 for vectors, without reading them.

    Parameters
    ----------
    data : mapping
        The section ``data`` of a configuration; its source exists.

    Raises
    ------
    ValueError
        If the source does not have what it must, or keys of the section do not go with it; the
        message begins with the key.
    """
    if data["source"] is None:
        return SIDES[data["name"]]
    source = Path(data["source"])
    if source.suffix not in ARRAYS + TABLES:
        if data["label"]:
            raise ValueError("label: is for tables alone: leave it out")
        if data["size"] is None:
            raise ValueError("size: is missing: the side in pixels that images are resized to")
        return int(data["size"])
    if data["size"]:
        raise ValueError("size: is for image files alone: leave it out")
    if (source.suffix in TABLES) != bool(data["label"]):
        raise ValueError("label: names the column of labels of a table, and goes with one alone")
    from focal_curvature.data import numbers

    try:
        return numbers.shape(source, data["label"])[1]
    except ValueError as error:
        raise ValueError(f"source: {error}") from error
