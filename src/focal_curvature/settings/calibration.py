"""How predictions are scored."""

from __future__ import annotations

from dataclasses import dataclass

from focal_curvature.settings import option


@dataclass(frozen=True)
class Calibration:
    """How predictions are scored."""

    bins: int = option(
        15,
        about="equal-width bins of the confidence",
        choose="equal-width bins: 15 in the literature",
        minimum=2,
    )
