"""Write the summary over seeds as CSV (all metrics), Markdown and LaTeX (the printed ones)."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import summary
from focal_curvature.files import write_atomically


def main(snakemake):
    runs = pd.read_csv(snakemake.input.runs)
    known = [column for column in runs.select_dtypes("number") if column not in ("gamma", "seed")]
    table = summary.by_cell(runs, known)
    printed = summary.printed(table)
    csv, markdown, latex = map(Path, snakemake.output)
    texts = {
        csv: table.to_csv(index=False),
        markdown: printed.to_markdown(index=False) + "\n",
        latex: summary.latex(printed),
    }
    for path, text in texts.items():
        with write_atomically(path) as stream:
            stream.write(text.encode())


if "snakemake" in globals():
    job.run(main, snakemake)
