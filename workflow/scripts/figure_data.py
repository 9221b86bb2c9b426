"""Compute the table behind a figure."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.files import write_atomically
from focal_curvature.plotting import load


def main(snakemake):
    runs, reliability = map(pd.read_csv, (snakemake.input.runs, snakemake.input.reliability))
    table = load(snakemake.wildcards.figure).prepare(runs, reliability)
    with write_atomically(Path(snakemake.output[0])) as stream:
        table.to_csv(stream, index=False)


if "snakemake" in globals():
    job.run(main, snakemake)
