"""Test the claims on the runs; write the verdicts as JSON and as tables."""

from pathlib import Path

import job

from focal_curvature.analysis import claims, summary
from focal_curvature.analysis.tables import read_all, read_verified
from focal_curvature.files import write_json


def main(snakemake):
    rules, experiment = snakemake.params.rules, snakemake.params.experiment
    runs = read_verified(Path(snakemake.input.runs), Path(snakemake.input.provenance))
    files = snakemake.input.controls
    table = claims.judge(runs, rules, experiment, read_all(files) if files else None)
    write_json(Path(snakemake.output.claims), claims.to_json(table, rules, experiment))
    tables = [Path(file) for file in [snakemake.output.html, *snakemake.output.tables]]
    summary.write(table, claims.printed(table), tables)


if "snakemake" in globals():
    job.run(main, snakemake)
