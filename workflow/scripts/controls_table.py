"""Write the interventions as CSV, Markdown and LaTeX."""

from pathlib import Path

import job

from focal_curvature.analysis import controls_table, summary, tables


def main(snakemake):
    table = tables.read_all(snakemake.input.tables)
    summary.write(table, controls_table.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
