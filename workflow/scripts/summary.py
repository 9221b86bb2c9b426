"""Write the summary over seeds as CSV (all metrics), Markdown and LaTeX (the printed ones)."""

from pathlib import Path

import job

from focal_curvature.analysis import summary, tables


def main(snakemake):
    runs = summary.flags_as_numbers(
        tables.read_verified(Path(snakemake.input.runs), Path(snakemake.input.provenance))
    )
    known = [
        column
        for column in runs.select_dtypes("number")
        if column not in ("gamma", "strength", "seed")
    ]
    table = summary.by_cell(runs, known)
    summary.write(table, summary.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
