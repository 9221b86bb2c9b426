"""Write what every stage cost as CSV, Markdown and LaTeX."""

from pathlib import Path

import job

from focal_curvature.analysis import cost_table, summary


def main(snakemake):
    jobs = cost_table.read(
        (stage, model, Path(file))
        for (stage, model), file in zip(
            snakemake.params.jobs, snakemake.input.benchmarks, strict=True
        )
    )
    table = cost_table.cost(jobs, snakemake.params.runs, ["train", "curvature", "calibration"])
    summary.write(table, cost_table.printed(table), [Path(file) for file in snakemake.output])


if "snakemake" in globals():
    job.run(main, snakemake)
