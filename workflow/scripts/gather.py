"""Gather all runs' records in tables, and what they were made with in another file."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis import cost, tables
from focal_curvature.files import read_json, sha256, verify, write_atomically, write_json
from focal_curvature.measurements.agreement import require_configured
from focal_curvature.runs import expand


def main(snakemake):
    files = snakemake.input
    rows, runs, measurements = [], [], []
    specs = {spec.folder: spec for spec in expand(snakemake.config)}
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
        runs.append(read_json(Path(run)))
        spec = specs[runs[-1]["run"]]
        require_configured(spec, snakemake.config, runs[-1], calibration, curvatures)
        measurements += curvatures.values()
        rows.append(tables.run_row(runs[-1], calibration, curvatures))
    outputs = {
        snakemake.output.runs: pd.DataFrame(rows),
        snakemake.output.reliability: tables.reliability(
            zip(rows, map(Path, files.reliability), strict=True)
        ),
        snakemake.output.histories: tables.histories(histories(rows, runs, files.history)),
    }
    for path, table in outputs.items():
        with write_atomically(Path(path)) as stream:
            table.to_csv(stream, index=False)
    about = cost.provenance(runs, measurements, read_json(Path(files.dataset)))
    about["sha256"] = {Path(path).name: sha256(Path(path)) for path in outputs}
    write_json(Path(snakemake.output.provenance), about)


def histories(rows, runs, files):
    """Pair the rows of the runs whose histories these are with the files."""
    known = {run["run"]: (row, run) for row, run in zip(rows, runs, strict=True)}
    for file in map(Path, files):
        row, run = known["/".join(file.parts[-4:-1])]
        verify(file, run["sha256"]["history.csv"])
        yield row, file


if "snakemake" in globals():
    job.run(main, snakemake)
