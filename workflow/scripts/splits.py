"""Split a data set and write the indices."""

from pathlib import Path

import job

from focal_curvature.data import arrays, splits


def main(snakemake):
    data = snakemake.params.data
    indices = splits.split(
        arrays.read(Path(snakemake.input.dataset[0]).parent),
        train=data["train"],
        validation=data["validation"],
        test=data["test"],
        seed=data["split_seed"],
    )
    splits.write(Path(snakemake.output[0]), indices)


if "snakemake" in globals():
    job.run(main, snakemake)
