"""Do what a stage does with trained runs, and write its tables."""

from pathlib import Path

import job

from focal_curvature.determinism import choose_device, deterministic
from focal_curvature.files import write_csv
from focal_curvature.registry import resolve
from focal_curvature.settings import read
from focal_curvature.settings.curvature import Curvature
from focal_curvature.stages.work import Work
from focal_curvature.trained import TrainedRun


def main(snakemake):
    params = snakemake.params
    stage = resolve(params.stage)
    deterministic(snakemake.threads)
    work = Work(
        runs=[TrainedRun(Path(file).parent) for file in snakemake.input.run],
        dataset=Path(snakemake.input.dataset[0]).parent,
        splits=Path(snakemake.input.splits),
        device=choose_device(snakemake.config["device"]),
        curvature=read(Curvature, params.curvature),
        bins=params.bins,
    )
    tables = stage.measure(work, read(stage.settings, params.settings))
    for name, columns in stage.tables.items():
        rows = tables[name]
        further = (column for row in rows for column in row)
        write_csv(Path(snakemake.output[name]), rows, list(dict.fromkeys([*columns, *further])))


if "snakemake" in globals():
    job.run(main, snakemake)
