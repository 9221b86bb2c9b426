"""Compute the tables behind the figures."""

from pathlib import Path

import job
import pandas as pd

from focal_curvature.analysis.tables import read_all, read_verified
from focal_curvature.files import write_atomically
from focal_curvature.plotting import load


def main(snakemake):
    provenance = Path(snakemake.input.provenance)
    tables = {
        name: read_verified(Path(snakemake.input[name]), provenance)
        for name in ("runs", "reliability")
    }
    tables["claims"] = pd.read_csv(snakemake.input.claims)
    # One file per table, or per model and table.
    files = [Path(file) for file in [*snakemake.input.geometry, *snakemake.input.theory]]
    for name in {file.stem for file in files}:
        tables[name] = read_all(f for f in files if f.stem == name)
    if snakemake.input.controls:
        tables["controls"] = read_all(snakemake.input.controls)
    if snakemake.input.trajectory:
        tables["trajectory"] = read_all(snakemake.input.trajectory)
    for path in map(Path, snakemake.output):
        with write_atomically(path) as stream:
            load(path.stem).prepare(tables).to_csv(stream, index=False)


if "snakemake" in globals():
    job.run(main, snakemake)
