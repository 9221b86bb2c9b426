"""Data sets of one's own that are numbers: arrays in a ``.npz`` file, or a table.

A ``.npz`` file (``numpy.savez``) has ``inputs`` and ``labels``, and optionally ``test_inputs`` and
``test_labels``. Inputs are vectors (N, D), gray images (N, H, H) or images (N, C, H, H), of bytes
or of any other numbers; labels are integers or names. A ``.csv`` or ``.parquet`` table has a column
of labels, and numbers in all others.

A vector of D numbers is kept as an image of one pixel with D channels, so that what is normalised
by channel is standardised by feature.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focal_curvature.data import ARRAYS, arrays
from focal_curvature.files import sha256

INPUTS, LABELS = ("inputs", "test_inputs"), ("labels", "test_labels")


def decode(
    source: Path, folder: Path, *, name: str, label: str | None, expected: str | None = None
) -> None:
    """Write the arrays and the description of arrays or of a table.

    Classes are the labels that occur, sorted; whole bytes stay bytes, all else becomes float32.

    Parameters
    ----------
    source : Path
        ``.npz``, ``.csv`` or ``.parquet``.
    folder : Path
        Where to write ``images.npy``, ``labels.npy`` and ``dataset.json``.
    name : str
        What to call the data set.
    label : str or None
        A table's column of labels.
    expected : str, optional
        SHA-256 that the file must have.

    Raises
    ------
    ValueError
        If the hash is another, the file cannot be read, or shapes, types or values do not do. The
        message names the file and the array or column.
    """
    digest = sha256(source)
    if expected not in (None, digest):
        raise ValueError(f"{source}: expected sha256 {expected}, found {digest}")
    pools = _arrays(source) if source.suffix in ARRAYS else [_table(source, str(label))]
    inputs = [_images(source, key, x) for key, (x, _) in zip(INPUTS, pools, strict=False)]
    for key, x, (_, y) in zip(LABELS, inputs, pools, strict=False):
        if y.shape != x.shape[:1] or y.dtype.kind not in "iubUS":
            raise ValueError(
                f"{source}: {key} are {y.dtype} {y.shape}, not integers or names ({len(x)},)"
            )
    if len({(x.shape[1:], x.dtype) for x in inputs}) > 1:
        shapes = " and ".join(f"{x.dtype} {x.shape}" for x in inputs)
        raise ValueError(f"{source}: inputs and test_inputs differ: {shapes}")
    classes, labels = np.unique(np.concatenate([y for _, y in pools]), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{source}: {classes[0]} is the only class")
    sizes = np.cumsum([0, *map(len, inputs)]).tolist()
    spans = list(pairwise(sizes))
    images = np.concatenate(inputs)
    arrays.write(
        folder,
        name=name,
        images=images,
        labels=labels.astype(np.int64),
        classes=[str(c) for c in classes],
        pools=dict(zip(("train", "test") if len(spans) > 1 else ("all",), spans, strict=True)),
        scale=255 if images.dtype == np.uint8 else 1,
        sources=[{"name": source.name, "sha256": digest}],
    )


def shape(source: Path, label: str | None) -> tuple[int, int]:
    """Return the number of channels and the side in pixels, from the file's header alone.

    Raises
    ------
    ValueError
        If there is no such array, its shape does not do, or the table has no such column.
    """
    if source.suffix in ARRAYS:
        return _channels(source, INPUTS[0], _header(source, INPUTS[0]))
    names = columns(source)
    if label not in names:
        raise ValueError(f"{source}: no column {label!r}: columns are {', '.join(names)}")
    return len(names) - 1, 1


def sizes(source: Path) -> list[int]:
    """Return how many inputs a ``.npz`` file has to train and, if it has any, to test on."""
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
    return [_header(source, key)[0] for key in INPUTS if f"{key}.npy" in names]


def _header(source: Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array."""
    try:
        with zipfile.ZipFile(source) as archive, archive.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            return read(stream)[0]
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{source}: no array {name} can be read ({error})") from error


def columns(source: Path) -> list[str]:
    """Return the names of a table's columns.

    Raises
    ------
    ValueError
        If it is no such table.
    """
    if source.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        try:
            return list(parquet.read_schema(source).names)
        except (OSError, pyarrow.ArrowException) as error:
            raise ValueError(f"{source}: is not a parquet file ({error})") from error
    import csv

    try:
        with source.open(newline="", encoding="utf-8-sig") as stream:
            return next(csv.reader(stream), [])
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: is not UTF-8 ({error})") from error


def _arrays(source: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    try:
        with np.load(source, allow_pickle=False) as content:
            given: Mapping[str, NDArray[Any]] = dict(content)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{source}: cannot be read ({error})") from error
    known = {*INPUTS, *LABELS}
    for keys in (INPUTS, LABELS):
        if keys[0] not in given:
            raise ValueError(f"{source}: no array {keys[0]}: it has {', '.join(sorted(given))}")
    if unknown := sorted(set(given) - known):
        raise ValueError(f"{source}: array {unknown[0]} is none of {', '.join(sorted(known))}")
    if (INPUTS[1] in given) != (LABELS[1] in given):
        raise ValueError(f"{source}: {INPUTS[1]} and {LABELS[1]} go together")
    return [(given[x], given[y]) for x, y in zip(INPUTS, LABELS, strict=True) if x in given]


def _table(source: Path, label: str) -> tuple[NDArray[Any], NDArray[Any]]:
    import pandas as pd

    try:
        table = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
    except Exception as error:  # the parsers raise whatever they stumble on
        raise ValueError(f"{source}: cannot be read ({error})") from error
    if label not in table:
        raise ValueError(f"{source}: no column {label!r}: columns are {', '.join(table)}")
    for column in table:
        if missing := int(table[column].isna().sum()):
            raise ValueError(f"{source}: {missing} values of column {column!r} are missing")
    features = table.drop(columns=label)
    for column in features:
        if features[column].dtype.kind not in "iufb":
            raise ValueError(
                f"{source}: column {column!r} is not of numbers: encode it, or leave it out"
            )
        if features[column].nunique() < 2:
            raise ValueError(f"{source}: column {column!r} is constant: leave it out")
    labels = table[label]
    if labels.dtype.kind not in "iub":
        labels = labels.astype(str)
    return features.to_numpy(np.float64), np.array(labels.tolist())


def _images(source: Path, key: str, values: NDArray[Any]) -> NDArray[Any]:
    """Bring inputs of any accepted shape and type to (N, C, H, H), bytes or float32."""
    channels, side = _channels(source, key, values.shape)
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{source}: {key} are {values.dtype}, not numbers")
    if values.dtype != np.uint8:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if broken := int(values.size - np.isfinite(values).sum()):
            raise ValueError(f"{source}: {broken} values of {key} are not finite in float32")
    return values.reshape(len(values), channels, side, side)


def _channels(source: Path, key: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return channels and side of inputs of a shape."""
    if 0 not in shape:
        match shape:
            case (_, features):
                return features, 1
            case (_, height, width) if height == width:
                return 1, height
            case (_, channels, height, width) if height == width:
                return channels, height
    raise ValueError(
        f"{source}: {key} have shape {shape}, none of (N, D), (N, H, H) and (N, C, H, H)"
    )
