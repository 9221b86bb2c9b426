"""Test whether focal loss calibrates neural networks by flattening the loss surface.

The library behind the workflow: data, models, losses, training, curvature, calibration, analysis
and plotting. Nothing in here knows of Snakemake.

`curvature` is a package that can be called: ``curvature(model, loader)`` is short for
``curvature.measure(model, loader)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focal_curvature.curvature.api import measure as curvature
    from focal_curvature.losses.focal import focal

__all__ = ["curvature", "focal"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the package itself costs nothing."""
    if name == "focal":
        from focal_curvature.losses.focal import focal

        return focal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
