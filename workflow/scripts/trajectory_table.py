"""Write the correlations along training as CSV, Markdown and LaTeX."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import summary, trajectory


def main(snakemake):
    table = trajectory.correlations(pd.concat(map(pd.read_csv, snakemake.input.tables)))
    summary.write(table, trajectory.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
