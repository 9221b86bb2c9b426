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
    for model_file, run_file in zip(snakemake.input.model, snakemake.input.run, strict=True):
        run = read_json(Path(run_file))
        verify(Path(model_file), run["sha256"]["model.pt"])
        spec = RunSpec.from_dict(run["spec"])
        cross_entropy = build_loss(CROSS_ENTROPY)
        own = cross_entropy if spec.objective.base.is_cross_entropy else build_loss(spec.objective)
        losses = {"objective": own, "cross_entropy": cross_entropy}

        def measure(model, epoch, spec=spec, losses=losses):
            if epoch not in chosen["epochs"]:
                return {}
            logging.info("%s: curvature after epoch %d", spec.folder, epoch)
            seed = derive_seed("trajectory", spec.model, spec.seed, epoch)
            return sharpness(model, losses, subset.images, subset.labels, settings, seed)

        # Evaluating more often changes no weight.
        every = replace(spec, training=spec.training | {"evaluate_every": 1})
        outcome = train(every, data, bins=snakemake.params.bins, measure=measure)
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


if "snakemake" in globals():
    job.run(main, snakemake)
