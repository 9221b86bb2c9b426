"""Splits as normalised tensors on a device: no per-sample work after this."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focal_curvature.data import arrays, splits
from focal_curvature.memory import advise


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), float32, normalised, and labels (N,), int64, on one device."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Tensors:
    """The three splits of a data set and what its models must know of it.

    Attributes
    ----------
    splits : dict
        Of ``train``, ``validation`` and ``test`` those that were asked for.
    classes, channels, size : int
        Number of classes and of image channels; side of the square images in pixels.
    mean, std : list of float
        Per channel, of the training split's pixels in units of ``scale``: what was normalised by.
    """

    splits: dict[str, Split]
    classes: int
    channels: int
    size: int
    mean: list[float]
    std: list[float]

    @cached_property
    def black(self) -> Tensor:
        """What a pixel of value zero is after normalisation, shape (C, 1, 1)."""
        return -torch.tensor(self.mean)[:, None, None] / torch.tensor(self.std)[:, None, None]


def load(
    dataset_folder: Path,
    splits_file: Path,
    device: torch.device,
    names: Collection[str] = splits.SPLITS,
    changes: Mapping[str, Any] | None = None,
) -> Tensors:
    """Load splits, normalised by the training split's mean and standard deviation per channel.

    Parameters
    ----------
    dataset_folder, splits_file : Path
    device : torch.device
    names : collection of str
        Which splits; the others take no memory.
    changes : mapping, optional
        Of a run whose data are others than the file's: `focal_curvature.runs.RunSpec.data`.

    Raises
    ------
    ValueError
        If a file is not what its checksum says, or a channel of images is constant.
    MemoryError
        If memory runs out.
    """
    dataset = arrays.read(dataset_folder)
    indices, labels = splits.read(splits_file), dataset.labels
    if changes:
        sizes = {name: changes[name] for name in splits.SPLITS}
        indices = splits.split(dataset, **sizes, seed=changes["split_seed"])
        noise = (indices["train"], changes["label_noise"], changes["split_seed"])
        labels = splits.with_noise(labels, *noise, len(dataset.classes))
    train = dataset.images[indices["train"]]
    channels = dataset.images.shape[1]
    moments = [_moments(train[:, c], dataset.scale) for c in range(channels)]
    mean, std = ([m[i] for m in moments] for i in range(2))
    if dataset.images.shape[2] == 1:
        # a feature that the training split has one value of says nothing, and does no harm
        std = [s or 1.0 for s in std]
    if not all(std):
        raise ValueError(
            f"{dataset_folder}: channel {std.index(0)} is constant over the training images"
        )
    loaded = {}
    with advise(
        f"out of memory on {device} while loading the images: lower data.train "
        "and data.test, or use a device with more memory"
    ):
        for name in names:
            raw = train if name == "train" else dataset.images[indices[name]]
            images = torch.from_numpy(raw).to(device).float().div_(dataset.scale)
            for c in range(channels):
                images[:, c].sub_(mean[c]).div_(std[c])
            targets = torch.from_numpy(labels[indices[name]]).to(device)
            loaded[name] = Split(images, targets)
    return Tensors(loaded, len(dataset.classes), channels, dataset.images.shape[2], mean, std)


def _moments(values: NDArray[np.uint8 | np.float32], scale: int) -> tuple[float, float]:
    """Mean and standard deviation in units of ``scale``, whatever the order of summation."""
    if values.dtype == np.uint8:
        # integer sums per value are exact
        histogram = np.bincount(values.ravel(), minlength=256)
        levels = np.arange(256) / scale
        mean = float(histogram @ levels / histogram.sum())
        return mean, float(np.sqrt(histogram @ (levels - mean) ** 2 / histogram.sum()))
    wide = values.astype(np.float64) / scale
    # the digits that sums in another order may change are left out
    mean, std = float(f"{wide.mean():.9g}"), float(f"{wide.std():.9g}")
    return mean, 0.0 if wide.min() == wide.max() else std


@dataclass(frozen=True)
class Subset:
    """Samples drawn from a split, and the SHA-256 of their images and labels as they are used."""

    split: Split
    sha256: str


def subset(split: Split, size: int | None, key: str = "curvature.samples") -> Subset:
    """Draw a fixed stratified sample of a split, or take all of it for ``size`` None.

    Parameters
    ----------
    split : Split
    size : int or None
    key : str
        Of the configuration: where the size is from.

    Raises
    ------
    ValueError
        If more samples are asked for than there are.
    """
    if size is not None:
        if size > len(split.labels):
            raise ValueError(f"{key}: {size} asked for, the split has {len(split.labels)}")
        drawn, _ = splits.stratified(split.labels.cpu().numpy(), size, seed=0)
        index = torch.from_numpy(drawn).to(split.labels.device)
        split = Split(split.images[index], split.labels[index])
    digest = hashlib.sha256(split.images.cpu().numpy().tobytes())
    digest.update(split.labels.cpu().numpy().tobytes())
    return Subset(split, digest.hexdigest())


def halves(split: Split) -> tuple[Split, Split]:
    """Cut a split into two disjoint stratified halves, the same ones always."""
    parts = splits.stratified(split.labels.cpu().numpy(), len(split.labels) // 2, seed=1)
    one, other = (torch.from_numpy(part).to(split.labels.device) for part in parts)
    return (
        Split(split.images[one], split.labels[one]),
        Split(split.images[other], split.labels[other]),
    )
