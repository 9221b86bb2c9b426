"""Curvature and calibration along the training of single runs, which are trained once more."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.settings import option
from focal_curvature.settings.curvature import Curvature
from focal_curvature.stages import Rows, Stage, StageSettings

if TYPE_CHECKING:
    from torch import nn

    from focal_curvature.data.tensors import Split
    from focal_curvature.stages.work import Work
    from focal_curvature.trained import Outcome, TrainedRun

# A regulariser adds its own.
TABLES = {
    "trajectory": [
        *("model", "objective", "gamma", "seed", "status", "same_weights", "epoch"),
        *(
            f"{split}_{score}"
            for split in ("train", "validation")
            for score in ("loss", "accuracy", "nll", "mean_confidence", "ece")
        ),
        *(
            f"{number}_{matrix}{loss}"
            for loss in ("objective", "cross_entropy")
            for matrix in ("", "gauss_newton_")
            for number in ("top_eigenvalue", "trace")
        ),
    ]
}


@dataclass(frozen=True, kw_only=True)
class Trajectory(StageSettings):
    """Runs trained once more and measured as they go.

    Curvature under their own loss and under cross-entropy; scores of the training and validation
    splits.
    """

    epochs: list[int] = option(
        about="after which to measure; a correlation needs three",
        choose="after which to measure; more of them early, where curvature changes fast. Each "
        "costs about two measurements of a run's curvature by the engine",
        minItems=3,
        uniqueItems=True,
        items={"type": "integer", "minimum": 1},
    )
    samples: int | None = option(
        None,
        about="how many images of curvature.split, or null for all",
        choose="of `curvature`'s split; fewer than there, or following takes longer than training",
        minimum=1,
    )

    def problems(self, runs: Sequence[RunSpec]) -> Iterator[str]:
        """Say also which epochs are beyond the end of training."""
        yield from super().problems(runs)
        lengths = {run.model: run.training.epochs for run in self.select(runs)}
        for model, epochs in lengths.items():
            if isinstance(epochs, int) and max(self.epochs) > epochs:
                yield (
                    f"epochs: {max(self.epochs)} is more than {model} is trained for: "
                    f"at most {epochs}"
                )

    def measurements(self, curvature: Curvature) -> float:
        """One per epoch that is measured."""
        return len(self.epochs)


def measure(work: Work, settings: Trajectory) -> Mapping[str, Rows]:
    """Follow all runs."""
    sample = work.sample(settings.samples, "trajectory.samples")
    outcomes: dict[str, Outcome] = {}
    rows: Rows = []
    for run in work.runs:
        if run.spec.folder not in outcomes:
            outcomes |= _trained_again(run, work, settings, sample)
        outcome = outcomes[run.spec.folder]
        weights = run.weights()
        # Those of a diverged run may be NaN.
        same = all(
            np.array_equal(weights[name], value, equal_nan=True)
            for name, value in outcome.weights.items()
        )
        if not same:
            logging.warning("%s: trained again, it ends with other weights", run.spec.folder)
        keys = run.keys | {"status": outcome.status, "same_weights": same}
        rows += [keys | row for row in outcome.history if row["epoch"] in settings.epochs]
    return {"trajectory": rows}


def _trained_again(
    run: TrainedRun, work: Work, settings: Trajectory, sample: Split
) -> dict[str, Outcome]:
    """Return the outcomes of a run and of those trained with it as one, for the same bits."""
    from focal_curvature.curvature.tracking import sharpness
    from focal_curvature.training import train

    losses = run.losses()
    followed = {other.spec.folder for other in work.runs}

    def along(spec: RunSpec, model: nn.Module, epoch: int) -> dict[str, float]:
        if epoch not in settings.epochs or spec.folder not in followed:
            return {}
        logging.info("%s: curvature after epoch %d", spec.folder, epoch)
        seed = derive_seed("trajectory", spec.model, spec.seed, epoch)
        return sharpness(model, losses, sample.images, sample.labels, work.curvature, seed)

    # Evaluating more often changes no weight.
    every = replace(run.spec, training=replace(run.spec.training, evaluate_every=1))
    specs = [replace(every, seed=seed) for seed in run.record["trained_together"]]
    outcomes = train(specs, work.data, bins=work.bins, measure=along)
    return {spec.folder: outcome for spec, outcome in zip(specs, outcomes, strict=True)}


STAGE = Stage(Trajectory, TABLES, measure, "Follow curvature along the training", trains=True)
