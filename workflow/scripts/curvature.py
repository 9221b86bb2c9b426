"""Measure the curvature of trained models, under their own loss and under cross-entropy."""

from contextlib import ExitStack
from pathlib import Path

import job

from focal_curvature.data import tensors
from focal_curvature.determinism import choose_device, deterministic
from focal_curvature.files import exclusive, write_json
from focal_curvature.measurements.curvature import curvatures
from focal_curvature.settings import read
from focal_curvature.settings.curvature import Curvature
from focal_curvature.trained import TrainedRun


def main(snakemake):
    deterministic(snakemake.threads)
    output = snakemake.output
    runs = [TrainedRun(Path(file).parent) for file in snakemake.input.run]
    with ExitStack() as locks:
        for folder in dict.fromkeys(Path(file).parent for file in output):
            locks.enter_context(exclusive(folder))
        settings = read(Curvature, snakemake.params.curvature)
        device = choose_device(snakemake.config["device"])
        folder, splits = Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits)
        # Changes to the data are a model's, and so all runs' of a job.
        data = tensors.load(folder, splits, device, [settings.split], runs[0].spec.data)
        sample = tensors.subset(data.splits[settings.split], settings.samples)
        files = zip(output.objective, output.cross_entropy, strict=True)
        for run, (objective, cross_entropy) in zip(runs, files, strict=True):
            places = {"objective": objective, "cross_entropy": cross_entropy}
            for kind, record in curvatures(run, run.model(data, device), sample, settings):
                write_json(Path(places[kind]), record)


if "snakemake" in globals():
    job.run(main, snakemake)
