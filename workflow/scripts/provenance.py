"""Record what an experiment's results were made with, and what they cost."""

import json
from pathlib import Path

import job

from focal_curvature.analysis import cost
from focal_curvature.files import write_json


def main(snakemake):
    runs, curvatures = (
        [json.loads(Path(file).read_text()) for file in files]
        for files in (snakemake.input.run, snakemake.input.objective)
    )
    dataset = json.loads(Path(snakemake.input.dataset).read_text())
    write_json(Path(snakemake.output[0]), cost.provenance(runs, curvatures, dataset))


if "snakemake" in globals():
    job.run(main, snakemake)
