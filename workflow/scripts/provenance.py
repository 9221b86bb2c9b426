"""Record what an experiment's results were made with, and what they cost."""

from pathlib import Path

import job

from focal_curvature.analysis import cost
from focal_curvature.files import read_json, write_json


def main(snakemake):
    runs, curvatures = (
        [read_json(Path(file)) for file in files]
        for files in (
            snakemake.input.run,
            [*snakemake.input.objective, *snakemake.input.cross_entropy],
        )
    )
    dataset = read_json(Path(snakemake.input.dataset))
    write_json(Path(snakemake.output[0]), cost.provenance(runs, curvatures, dataset))


if "snakemake" in globals():
    job.run(main, snakemake)
