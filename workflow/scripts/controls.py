"""Intervene on one model's runs: temperature, Dinh's rescaling, Psi; before and after."""

import logging
from pathlib import Path

import job

from focal_curvature.analysis.controls import interventions
from focal_curvature.data import tensors
from focal_curvature.files import read_json, verify, write_csv
from focal_curvature.runs import CROSS_ENTROPY, RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.training import (
    build_loss,
    build_model,
    choose_device,
    deterministic,
    load_weights,
)

COLUMNS = [
    "model",
    "objective",
    "gamma",
    "seed",
    "control",
    "value",
    "trace",
    "trace_gauss_newton",
    "top_eigenvalue",
    "adaptive_sharpness",
    "ece",
    "noise_floor_95",
    "logit_difference",
    "layers",
    "reason",
]


def main(snakemake):
    settings, controls = dict(snakemake.params.settings), snakemake.params.controls
    split, samples = settings.pop("split"), settings.pop("samples")
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits), device
    )
    chosen = tensors.subset(data.splits[split], samples).split
    rows = []
    for model_file, run_file in zip(snakemake.input.model, snakemake.input.run, strict=True):
        run = read_json(Path(run_file))
        if run["status"] != "completed":
            continue
        verify(Path(model_file), run["sha256"]["model.pt"])
        spec = RunSpec.from_dict(run["spec"])
        logging.info("%s: interventions", spec.folder)
        model = build_model(spec, data, device).eval()
        model.load_state_dict(load_weights(Path(model_file), device))
        keys = {
            "model": spec.model,
            "objective": spec.objective.slug,
            "gamma": spec.objective.gamma,
            "seed": spec.seed,
        }
        rows += [
            keys | row
            for row in interventions(
                model,
                build_loss(CROSS_ENTROPY),
                chosen,
                data.splits,
                gamma=spec.objective.gamma,
                factors=controls["factors"],
                settings=settings,
                bins=snakemake.params.bins,
                seed=derive_seed("controls", spec.model, spec.seed),
            )
        ]
    write_csv(Path(snakemake.output[0]), rows, columns=COLUMNS)


if "snakemake" in globals():
    job.run(main, snakemake)
