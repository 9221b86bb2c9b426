"""A fixed sample set in batches: tensors, or whatever gives batches anew each time it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.data import Dataset, IterableDataset

from .prepare import UnsupportedError

# inputs, targets, weights (n,) float64
Batch = tuple[Any, Any, Tensor]


def split_trees(tree: Any, size: int) -> Iterator[Any]:
    """Cut a tree of tensors along their first dimension."""
    n = length(tree)
    for start in range(0, n, size):
        yield rows(tree, slice(start, start + size))


def rows(tree: Any, which: Any) -> Any:
    """Return some rows of each tensor of a tree."""
    return tree_map_only(Tensor, lambda t: t[which], tree)


def length(tree: Any) -> int:
    """Return the samples in a tree of tensors, all of which have a row per sample.

    Raises
    ------
    UnsupportedError
        If there is no tensor, or they are not of one length.
    """
    lengths = {len(t) if t.ndim else 0 for t in tree_leaves(tree) if isinstance(t, Tensor)}
    if len(lengths) != 1:
        raise UnsupportedError(
            "inputs and targets need tensors with a row per sample, "
            + (f"not {sorted(lengths)} rows" if lengths else "and there is none")
        )
    return lengths.pop()


def prepared(
    inputs: Any, targets: Any, dtype: torch.dtype, device: torch.device
) -> tuple[Any, Any]:
    """Move inputs and targets to a device: floating inputs in a dtype, targets exactly."""

    def put(t: Tensor) -> Tensor:
        t = t.to(device, dtype if t.is_floating_point() else t.dtype)
        if t.is_inference():  # autograd refuses such tensors
            t = t.clone()
        if t.ndim == 4 and t.is_floating_point():
            # CPU convolutions reorder any other layout on every call.
            t = t.contiguous(memory_format=torch.channels_last)
        return t

    def exact(t: Tensor) -> Tensor:
        if t.is_floating_point():
            t = t.to(device, torch.float64)
        else:  # torch's losses take no other integers for classes
            t = t.to(device, t.dtype if t.dtype == torch.bool else torch.int64)
        return t.clone() if t.is_inference() else t

    if isinstance(inputs, Mapping):
        inputs = dict(inputs)
    return tree_map_only(Tensor, put, inputs), tree_map_only(Tensor, exact, targets)


def require_finite_samples(inputs: Any, targets: Any, where: str) -> None:
    """Raise UnsupportedError that counts the samples with a NaN or an infinity.

    Minus infinity alone is let through: masks are made of it.
    """
    for what, tree in (("inputs", inputs), ("targets", targets)):
        for t in tree_leaves(tree):
            if isinstance(t, Tensor) and t.is_floating_point():
                bad = ~(t.isfinite() | t.isneginf()).flatten(1 if t.ndim > 1 else 0)
                rows = int((bad.any(1) if bad.ndim > 1 else bad).sum())
                if rows:
                    raise UnsupportedError(
                        f"{what} of {where} are not finite in {rows} of {len(t)} samples: take "
                        "these out"
                    )


class Samples:
    """Samples held in tensors.

    Parameters
    ----------
    inputs, targets : Tensor or tree of tensors
        A row per sample.
    dtype : torch.dtype
        Of floating inputs.
    device : torch.device

    Raises
    ------
    UnsupportedError
        If there are none, or not one target per input.
    """

    def __init__(self, inputs: Any, targets: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.inputs, self.targets = prepared(inputs, targets, dtype, device)
        self.count = length(self.inputs)
        if self.count == 0:
            raise UnsupportedError("there are no samples")
        if length(self.targets) != self.count:
            raise UnsupportedError(f"{self.count} inputs have {length(self.targets)} targets")
        require_finite_samples(self.inputs, self.targets, "the data")
        self.device = device

    def first(self, n: int) -> tuple[Any, Any]:
        """Return the first n inputs and targets."""
        return rows((self.inputs, self.targets), slice(n))

    def classes(self) -> list[int]:
        """Return the least and the largest target that there is."""
        return [int(self.targets.min()), int(self.targets.max())]

    def batches(self, size: int, *, padded: bool) -> Iterable[Batch]:
        """Cut into batches whose weights 1 / N make weighted sums means over all samples.

        If ``padded`` the last batch is filled up with copies of weight zero, so that one traced
        program serves all.
        """
        n = self.count
        parts: list[slice | Tensor] = [slice(i, i + size) for i in range(0, n, size)]  # views
        index = torch.arange(-(-n // size) * size if padded else n, device=self.device)
        weights = (index < n).double() / n
        if len(index) > n:
            parts[-1] = index[-size:].clamp(max=n - 1)
        return [
            (*rows((self.inputs, self.targets), i), w)
            for i, w in zip(parts, weights.split(size), strict=True)
        ]


class LoadedSamples:
    """Samples that an iterable gives in batches, as a data loader does, read anew for each pass.

    Parameters
    ----------
    loader : iterable
        Of (inputs, targets). It must give the same batches each time that it is iterated.
    dtype, device
        As for `Samples`.

    Raises
    ------
    UnsupportedError
        If there are none, not one target per input, or the iterable can be read only once.
    """

    def __init__(self, loader: Iterable, dtype: torch.dtype, device: torch.device) -> None:
        if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
            raise UnsupportedError(f"a {type(loader).__name__} gives samples: use a DataLoader")
        if iter(loader) is loader:
            raise UnsupportedError(
                "the data can be read only once (a generator?): give a list or a data loader"
            )
        self.loader, self.dtype, self.device = loader, dtype, device
        self.marks: list[tuple[float, ...]] = []
        self.span: list[int] = []
        self.count = sum(length(inputs) for inputs, _ in self._read(known=False))
        if self.count == 0:
            raise UnsupportedError("there are no samples")

    def _read(self, *, known: bool = True) -> Iterator[tuple[Any, Any]]:
        """Give the loader's batches, and hold them against those of the first time."""
        i = -1
        for i, pair in enumerate(self.loader):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise UnsupportedError(
                    "the data give no pairs (inputs, targets), but "
                    f"{type(pair).__name__}s: wrap them"
                )
            inputs, targets = pair
            batch = prepared(inputs, targets, self.dtype, self.device)
            if length(batch[0]) != length(batch[1]):
                raise UnsupportedError(
                    f"{length(batch[0])} inputs have {length(batch[1])} targets in batch {i}"
                )
            mark = tuple(float(t.sum(dtype=torch.float64)) for t in tree_leaves(batch)
                         if isinstance(t, Tensor))  # fmt: skip
            if not known:
                require_finite_samples(*batch, f"batch {i}")
                self.marks.append(mark)
                if isinstance(batch[1], Tensor) and batch[1].numel():
                    self.span += [int(batch[1].min()), int(batch[1].max())]
            elif i >= len(self.marks) or mark != self.marks[i]:
                raise UnsupportedError(
                    f"the data gave another batch {i} the second time: the curvature is of a "
                    "fixed sample set, so turn shuffling and augmentation off"
                )
            yield batch
        if known and i + 1 != len(self.marks):
            raise UnsupportedError(f"the data gave {i + 1} batches for {len(self.marks)} at first")

    def first(self, n: int) -> tuple[Any, Any]:
        """Return the first n inputs and targets, of those of the first batch."""
        return rows(next(self._read()), slice(n))

    def classes(self) -> list[int]:
        """Return the least and the largest target that there is."""
        return [min(self.span), max(self.span)]

    def batches(self, size: int, *, padded: bool) -> Iterator[Batch]:
        """Cut each of the loader's batches; none is filled up."""
        for inputs, targets in self._read():
            pairs = zip(split_trees(inputs, size), split_trees(targets, size), strict=True)
            for x, y in pairs:
                n = length(x)
                yield (
                    x,
                    y,
                    torch.full((n,), 1 / self.count, dtype=torch.float64, device=self.device),
                )
