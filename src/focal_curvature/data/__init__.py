"""Data sets: where they come from, their arrays on disk, their splits, tensors for training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from focal_curvature.data.sources import facts, registered

# Suffixes of one's own data that are numbers and not images; see `focal_curvature.data.numbers`.
ARRAYS, TABLES = (".npz",), (".csv", ".parquet")
DIGITS = "digits"  # scikit-learn's, which no archive has
DIGITS_SIZE = (1797, 8)  # images, and their side in pixels
DIGITS_CLASSES = 10


def names() -> list[str]:
    """Return the data sets that a configuration may name without a source of its own."""
    return [DIGITS, *registered()]


def size(name: str) -> tuple[int, int] | None:
    """Return how many images a known data set has, and their side; None for one of one's own."""
    if name == DIGITS:
        return DIGITS_SIZE
    if name not in registered():
        return None
    known = facts(name)
    return known.images, known.side


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
        if data["label"]:
            raise ValueError("label: is for tables of your own alone: leave it out")
        known = size(data["name"])
        if known is None:
            raise ValueError(f"name: {data['name']} is not a known data set")
        return known[1]
    source = Path(data["source"])
    if source.suffix not in ARRAYS + TABLES:
        if data["label"]:
            raise ValueError("label: is for tables alone: leave it out")
        if data["size"] is None:
            raise ValueError("size: is missing: the side in pixels that images are resized to")
        return int(data["size"])
    if data["size"]:
        raise ValueError("size: is for image files alone: leave it out")
    if data["label"] and source.suffix not in TABLES:
        raise ValueError("label: is for tables alone: leave it out")
    from focal_curvature.data import numbers

    try:
        if source.suffix in TABLES and not data["label"]:
            columns = ", ".join(numbers.columns(source))
            missing = f"label: is missing: the column of labels in {source}: columns are {columns}"
        else:
            return numbers.shape(source, data["label"])[1]
    except ValueError as error:
        raise ValueError(f"source: {error}") from error
    raise ValueError(missing)


def extent(data: Mapping[str, Any]) -> tuple[int | None, int | None, bool]:
    """Return how many images and classes there are, and whether some are a test set.

    None is what only reading the data would tell. Parameters are those of :func:`side`, which
    takes the data.
    """
    if data["source"] is None:
        if data["name"] == DIGITS:
            return DIGITS_SIZE[0], DIGITS_CLASSES, False
        known = facts(data["name"])
        return known.images, len(known.classes) or None, True
    source = Path(data["source"])
    if source.suffix in ARRAYS:
        from focal_curvature.data import numbers

        sizes = numbers.sizes(source)
        return sum(sizes), None, len(sizes) > 1
    return None, None, source.suffix not in TABLES
