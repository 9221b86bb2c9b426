"""What is measured on the trained weights, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from focal_curvature.settings import option
from focal_curvature.settings.estimate import Estimate


@dataclass(frozen=True)
class Curvature(Estimate):
    """What is measured on the trained weights, and how."""

    split: Literal["train", "validation", "test"] = option(
        "train",
        about="whose images",
        choose="whose images. The surface that training descends is that of `train`",
    )
    samples: int | None = option(
        None,
        about="how many of them (the same for all runs), or null for all",
        choose="how many of them (a fixed stratified draw, the same for all runs; `null`: all)",
        minimum=1,
    )
    halves: bool = option(
        False,
        about="whether to measure two disjoint halves of the sample as well",
        choose="also on two disjoint halves of the sample, in columns of their own: how far they "
        "agree over runs is the measurement's reliability. Doubles the cost",
    )
