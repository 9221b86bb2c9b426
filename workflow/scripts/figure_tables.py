"""Compute the tables behind the figures."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.files import write_atomically
from focal_curvature.plotting import load


def main(snakemake):
    runs, reliability = map(pd.read_csv, (snakemake.input.runs, snakemake.input.reliability))
    for path in map(Path, snakemake.output):
        with write_atomically(path) as stream:
            load(path.stem).prepare(runs, reliability).to_csv(stream, index=False)


if "snakemake" in globals():
    job.run(main, snakemake)
