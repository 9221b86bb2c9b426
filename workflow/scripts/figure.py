"""Draw a figure from its table."""

from pathlib import Path

import job

from focal_curvature.plotting import draw


def main(snakemake):
    draw(snakemake.wildcards.figure, Path(snakemake.input.data), [*map(Path, snakemake.output)])


if "snakemake" in globals():
    job.run(main, snakemake)
