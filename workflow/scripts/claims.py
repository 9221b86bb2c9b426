"""Test the claims on the runs; write the verdicts as JSON and as tables."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import claims, summary
from focal_curvature.files import write_json


def main(snakemake):
    rules, experiment = snakemake.params.rules, snakemake.params.experiment
    table = claims.judge(pd.read_csv(snakemake.input.runs), rules, experiment)
    write_json(Path(snakemake.output.claims), claims.to_json(table, rules, experiment))
    tables = [Path(file) for file in [snakemake.output.html, *snakemake.output.tables]]
    summary.write(table, claims.printed(table), tables)


if "snakemake" in globals():
    job.run(main, snakemake)
