"""Write what came of holding theory against predictions as CSV, Markdown and LaTeX."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import summary, theory_table


def main(snakemake):
    names = ("bound", "logit_curvature", "posterior")
    table = theory_table.gather(*(pd.read_csv(snakemake.input[name]) for name in names))
    summary.write(table, theory_table.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
