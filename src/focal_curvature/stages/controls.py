"""Interventions on trained networks: temperature, Dinh's rescaling, Psi; before and after."""

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

TABLES = {
    "controls": [
        *("model", "objective", "gamma", "seed", "control", "value", "trace"),
        *("trace_gauss_newton", "top_eigenvalue", "adaptive_sharpness", "ece", "noise_floor_95"),
        *("top_eigenvalue_converged", "trace_converged", "logit_difference", "layers", "reason"),
    ]
}


@dataclass(frozen=True, kw_only=True)
class Controls(StageSettings):
    """Runs measured before and after temperature scaling, Dinh's rescaling and Psi.

    Rescaling: equal function, other Hessian; needs ReLU.
    """

    FOCAL: ClassVar = True

    factors: list[float] = option(
        [0.25, 4],
        about="that a layer is multiplied and the next one divided by",
        choose="that a layer is multiplied and the next one divided by; a run costs two "
        "curvature estimates of the engine, and one more per factor",
        minItems=1,
        uniqueItems=True,
        items={"type": "number", "exclusiveMinimum": 0, "maximum": 1e6},
    )

    def measurements(self, curvature: Curvature) -> float:
        """As trained, with its temperature, and rescaled."""
        return 2 + len(self.factors)


def measure(work: Work, settings: Controls) -> Mapping[str, Rows]:
    """Intervene on all completed runs."""
    from focal_curvature.analysis.controls import interventions

    sample = work.sample(work.curvature.samples, "curvature.samples")
    rows: Rows = []
    for run in work.completed:
        spec = run.spec
        logging.info("%s: interventions", spec.folder)
        parts = interventions(
            run.model(work.data, work.device).eval(),
            run.losses()["cross_entropy"],
            sample,
            work.data.splits,
            gamma=spec.objective.gamma,
            factors=settings.factors,
            settings=work.curvature,
            bins=work.bins,
            seed=derive_seed("controls", spec.model, spec.seed),
        )
        rows += [run.keys | row for row in parts]
    return {"controls": rows}


STAGE = Stage(
    Controls, TABLES, measure, "See what moves curvature, and what calibration", by_run=True
)
