"""Write the summary over seeds as CSV (all metrics), Markdown and LaTeX (the printed ones)."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import summary


def main(snakemake):
    runs = pd.read_csv(snakemake.input.runs)
    known = [
        column
        for column in runs.select_dtypes("number")
        if column not in ("gamma", "strength", "seed")
    ]
    table = summary.by_cell(runs, known)
    summary.write(table, summary.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
