"""Score the calibration of trained models from their logits."""

from pathlib import Path

import job

from focal_curvature.measurements import calibration
from focal_curvature.trained import TrainedRun


def main(snakemake):
    output, params = snakemake.output, snakemake.params
    for run, *files in zip(snakemake.input.run, output.scores, output.reliability, strict=True):
        calibration.write(
            TrainedRun(Path(run).parent),
            *map(Path, files),
            bins=params.bins,
            recalibrations=params.recalibrations,
        )


if "snakemake" in globals():
    job.run(main, snakemake)
