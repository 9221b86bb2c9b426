"""Obtain an archive of a public data set."""

from pathlib import Path

import job

from focal_curvature.data.sources import Archive, fetch


def main(snakemake):
    fetch(
        Archive(**snakemake.params.archive),
        Path(snakemake.output[0]),
        snakemake.config["data"]["directories"],
    )


if "snakemake" in globals():
    job.run(main, snakemake)
