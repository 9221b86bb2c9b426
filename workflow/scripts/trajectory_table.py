"""Write the correlations along training as CSV, Markdown and LaTeX."""

from pathlib import Path

import job

from focal_curvature.analysis import summary, tables, trajectory


def main(snakemake):
    table = trajectory.correlations(tables.read_all(snakemake.input.tables))
    summary.write(table, trajectory.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
