"""How predictions are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from focal_curvature.settings import option


@dataclass(frozen=True)
class Calibration:
    """How predictions are scored."""

    bins: int = option(
        15,
        about="equal-width bins of the confidence",
        choose="equal-width bins: 15 in the literature. Another number trains anew, as histories "
        "have the ECE",
        minimum=2,
        maximum=1000,
    )
    recalibrations: list[Literal["vector", "matrix", "isotonic", "focal_temperature"]] = option(
        [],
        about="what is fitted on the validation split and scored beside one temperature",
        choose="what is fitted on the validation split and scored beside one temperature, in "
        "columns of `runs.csv` that end in its name: `vector` and `matrix` scaling (Guo et al. "
        "2017), `isotonic` regression per class, `focal_temperature` (Komisarenko and Kull 2024). "
        "`matrix` fits K(K+1) numbers: give it a large validation split",
        uniqueItems=True,
    )
