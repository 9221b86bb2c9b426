"""Make a table or a figure from the tables that it needs."""

from pathlib import Path

import job

from focal_curvature.analysis import tables
from focal_curvature.registry import resolve


def main(snakemake):
    params = snakemake.params
    files = {name: [Path(file) for file in snakemake.input[name]] for name in params.tables}
    needed = tables.read(files, Path(snakemake.input.provenance))
    shared = {"processes": snakemake.threads} if snakemake.threads > 1 else {}
    product = resolve(params.product)(needed, **params.settings, **shared)
    resolve(params.write)(params.product, product, [*map(Path, snakemake.output)], params.settings)


if "snakemake" in globals():
    job.run(main, snakemake)
