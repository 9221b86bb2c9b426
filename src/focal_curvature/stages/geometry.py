"""A closer look at the loss surface: spectra, the loss around the weights, both estimators."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from focal_curvature.seeds import derive_seed
from focal_curvature.settings import option
from focal_curvature.settings.curvature import Curvature
from focal_curvature.stages import Rows, Stage, StageSettings

if TYPE_CHECKING:
    from focal_curvature.stages.work import Work

KEYS = ("model", "gamma", "seed")
TABLES = {
    "spectrum": [*KEYS, "hessian_of", "probe", "eigenvalue", "weight"],
    "lines": [*KEYS, "hessian_of", "direction", "step", "loss"],
    "plane": [*KEYS, "hessian_of", "x", "y", "loss"],
    "estimators": [
        *KEYS,
        *(
            f"{estimator}_{part}"
            for estimator in ("pyhessian", "engine")
            for part in ("seconds", "top_eigenvalue", "residual", "trace", "trace_stderr")
        ),
        "trace_difference_in_stderr",
    ],
}


@dataclass(frozen=True, kw_only=True)
class Geometry(StageSettings):
    """A spectral density, the loss around the weights, and both estimators side by side."""

    FOCAL: ClassVar = True

    probes: int = option(
        2,
        about="Lanczos runs per spectrum",
        choose="of the density: Lanczos runs; they cost probes x steps products per run and loss",
        minimum=2,
    )
    steps: int = option(
        40, about="length of a Lanczos run", choose="of the density: length of a run", minimum=2
    )
    reach: float = option(
        0.5,
        about="largest distance from the weights relative to their norm",
        choose="how far from the weights, relative to their norm",
        exclusiveMinimum=0,
    )
    resolution: int = option(
        15,
        about="steps along a direction",
        choose="in how many steps; a plane costs resolution squared evaluations",
        minimum=3,
    )

    def measurements(self, curvature: Curvature) -> float:
        """Both estimators, as many products for lines and planes, and spectra under two losses."""
        return 2 + self.probes * self.steps / (curvature.probes + curvature.max_iterations)


def measure(work: Work, settings: Geometry) -> Mapping[str, Rows]:
    """Measure all completed runs; planes of the least and the largest gamma alone."""
    from focal_curvature.curvature.geometry import look

    sample = work.sample(work.curvature.samples, "curvature.samples")
    gammas = [run.spec.objective.gamma for run in work.completed]
    tables: dict[str, Rows] = {name: [] for name in TABLES}
    for run in work.completed:
        spec = run.spec
        logging.info("%s: spectrum and surroundings", spec.folder)
        parts = look(
            run.model(work.data, work.device),
            run.losses(),
            sample.images,
            sample.labels,
            work.curvature,
            derive_seed("geometry", spec.model, spec.seed),
            probes=settings.probes,
            steps=settings.steps,
            reach=settings.reach,
            resolution=settings.resolution,
            surface=spec.objective.gamma in (min(gammas), max(gammas)),
        )
        keys = {key: run.keys[key] for key in KEYS}
        for name, rows in parts.items():
            tables[name] += [keys | row for row in rows]
    return tables


STAGE = Stage(Geometry, TABLES, measure, "Look closer at the loss surface")
