"""Gather all runs' records in one table, and their reliability tables in another."""

import json
from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import tables
from focal_curvature.files import write_atomically


def main(snakemake):
    files = snakemake.input
    rows = [
        tables.run_row(
            *(json.loads(Path(file).read_text()) for file in (run, calibration)),
            {
                "objective": json.loads(Path(objective).read_text()),
                "cross_entropy": json.loads(Path(cross_entropy).read_text()),
            },
        )
        for run, calibration, objective, cross_entropy in zip(
            files.run, files.calibration, files.objective, files.cross_entropy, strict=True
        )
    ]
    outputs = {
        snakemake.output.runs: pd.DataFrame(rows),
        snakemake.output.reliability: tables.reliability(
            zip(rows, map(Path, files.reliability), strict=True)
        ),
    }
    for path, table in outputs.items():
        with write_atomically(Path(path)) as stream:
            table.to_csv(stream, index=False)


if "snakemake" in globals():
    job.run(main, snakemake)
