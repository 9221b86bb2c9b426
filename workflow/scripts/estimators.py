"""Write the comparison of estimators as CSV, Markdown and LaTeX."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import estimators, summary


def main(snakemake):
    table = pd.concat(map(pd.read_csv, snakemake.input.tables))
    summary.write(table, estimators.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
