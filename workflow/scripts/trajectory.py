"""Train one model's chosen runs once more and measure as they go."""

import logging
from dataclasses import replace
from pathlib import Path

import job
import numpy as np

from focal_curvature.curvature.tracking import sharpness
from focal_curvature.data import tensors
from focal_curvature.files import read_json, verify, write_csv
from focal_curvature.runs import CROSS_ENTROPY, RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.training import (
    build_loss,
    choose_device,
    deterministic,
    load_weights,
    train,
)

# A regulariser adds its own.
COLUMNS = [
    *("model", "objective", "gamma", "seed", "status", "same_weights", "epoch"),
    *(
        f"{split}_{score}"
        for split in ("train", "validation")
        for score in ("loss", "accuracy", "nll", "mean_confidence", "ece")
    ),
    *(
        f"{number}_{matrix}{loss}"
        for loss in ("objective", "cross_entropy")
        for matrix in ("", "gauss_newton_")
        for number in ("top_eigenvalue", "trace")
    ),
]


def main(snakemake):
    chosen, settings = snakemake.params.trajectory, dict(snakemake.params.settings)
    split = settings.pop("split")
    settings.pop("samples")
    deterministic(snakemake.threads)
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent,
        Path(snakemake.input.splits),
        choose_device(snakemake.config["device"]),
    )
    subset = tensors.subset(data.splits[split], chosen["samples"], "trajectory.samples").split
    rows = []
    trained = {}  # outcomes by run; seeds that were trained as one are so again, for the same bits
    for model_file, run_file in zip(snakemake.input.model, snakemake.input.run, strict=True):
        run = read_json(Path(run_file))
        verify(Path(model_file), run["sha256"]["model.pt"])
        spec = RunSpec.from_dict(run["spec"])
        if spec.folder not in trained:
            # Evaluating more often changes no weight.
            every = replace(spec, training=spec.training | {"evaluate_every": 1})
            specs = [replace(every, seed=seed) for seed in run["trained_together"]]
            measure = curvature_of(specs[0], subset, chosen, settings)
            outcomes = train(specs, data, bins=snakemake.params.bins, measure=measure)
            trained |= {s.folder: one for s, one in zip(specs, outcomes, strict=True)}
        outcome = trained[spec.folder]
        saved = load_weights(Path(model_file))
        # Those of a diverged run may be NaN.
        same = all(
            np.array_equal(saved[name], value, equal_nan=True)
            for name, value in outcome.weights.items()
        )
        if not same:
            logging.warning("%s: trained again, it ends with other weights", spec.folder)
        keys = {
            "model": spec.model,
            "objective": spec.objective.slug,
            "gamma": spec.objective.gamma,
            "seed": spec.seed,
            "status": outcome.status,
            "same_weights": same,
        }
        rows += [keys | row for row in outcome.history if row["epoch"] in chosen["epochs"]]
    columns = list(dict.fromkeys([*COLUMNS, *(column for row in rows for column in row)]))
    write_csv(Path(snakemake.output[0]), rows, columns)


def curvature_of(spec, subset, chosen, settings):
    """Return what measures the runs of a cell, at the epochs and of the seeds asked for."""
    cross_entropy = build_loss(CROSS_ENTROPY)
    loss = cross_entropy if spec.objective.base.is_cross_entropy else build_loss(spec.objective)
    losses = {"objective": loss, "cross_entropy": cross_entropy}

    def measure(spec, model, epoch):
        if epoch not in chosen["epochs"] or spec.seed not in chosen["seeds"]:
            return {}
        logging.info("%s: curvature after epoch %d", spec.folder, epoch)
        seed = derive_seed("trajectory", spec.model, spec.seed, epoch)
        return sharpness(model, losses, subset.images, subset.labels, settings, seed)

    return measure


if "snakemake" in globals():
    job.run(main, snakemake)
