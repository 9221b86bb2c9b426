"""Write what became of the penalised traces as CSV, Markdown and LaTeX."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import penalties, summary
from focal_curvature.files import read_json, verify


def main(snakemake):
    runs = []
    for record, history in zip(snakemake.input.run, snakemake.input.history, strict=True):
        run = read_json(Path(record))
        verify(Path(history), run["sha256"]["history.csv"])
        # Not even a header, if it diverged before its first evaluation.
        rows = Path(history).read_text().strip()
        runs.append((run, pd.read_csv(history) if rows else pd.DataFrame()))
    table = penalties.along(runs)
    summary.write(table, penalties.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
