"""Gather all runs' records in one table, and their reliability tables in another."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import tables
from focal_curvature.files import read_json, verify, write_atomically


def main(snakemake):
    files = snakemake.input
    rows = []
    for run, scores, reliability, objective, cross_entropy in zip(
        files.run,
        files.calibration,
        files.reliability,
        files.objective,
        files.cross_entropy,
        strict=True,
    ):
        calibration = read_json(Path(scores))
        verify(Path(reliability), calibration["sha256"]["reliability.csv"])
        curvatures = {
            "objective": read_json(Path(objective)),
            "cross_entropy": read_json(Path(cross_entropy)),
        }
        rows.append(tables.run_row(read_json(Path(run)), calibration, curvatures))
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
