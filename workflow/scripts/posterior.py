"""Train on a problem whose posterior is known, and see what recovers it from focal loss."""

from pathlib import Path

import job

from focal_curvature.analysis import synthetic
from focal_curvature.files import write_csv
from focal_curvature.seeds import derive_seed
from focal_curvature.training.devices import deterministic


def main(snakemake):
    settings = snakemake.params.settings
    deterministic(snakemake.threads)
    tables = synthetic.experiment(
        sorted(settings["gammas"]),
        settings["steps"],
        derive_seed("posterior", settings["seed"]),
        shown=settings["points"],
    )
    for file, rows in zip(snakemake.output, tables, strict=True):
        write_csv(Path(file), rows)


if "snakemake" in globals():
    job.run(main, snakemake)
