"""Data sets: where they come from, their arrays on disk, their splits, tensors for training."""

from __future__ import annotations

from focal_curvature.data.sources import registered


def names() -> list[str]:
    """Return the data sets that a configuration may name without a source of its own."""
    return ["digits", *registered()]
