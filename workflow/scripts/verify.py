"""Compare a run with the committed one; fail where it does not agree."""

import logging
from pathlib import Path

import job

from focal_curvature import verification
from focal_curvature.files import write_atomically


def main(snakemake):
    comparison = verification.against_commit(Path(snakemake.input.runs).parent)
    logging.info("%s", verification.printed(comparison))
    if not comparison.agrees:
        raise ValueError(comparison.conclusion)
    with write_atomically(Path(snakemake.output[0])) as stream:
        comparison.numbers.to_csv(stream, index=False)


if "snakemake" in globals():
    job.run(main, snakemake)
