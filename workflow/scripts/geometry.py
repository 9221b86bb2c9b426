"""Look closer at one model's runs of one seed: spectra, losses around the weights, estimators."""

import logging
from pathlib import Path

import job

from focal_curvature.curvature.geometry import look
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

KEYS = ["model", "gamma", "seed"]
COLUMNS = {
    "spectrum": [*KEYS, "hessian_of", "probe", "eigenvalue", "weight"],
    "lines": [*KEYS, "hessian_of", "direction", "step", "loss"],
    "plane": [*KEYS, "hessian_of", "x", "y", "loss"],
    "estimators": [
        *KEYS,
        *(
            f"{estimator}_{part}"
            for estimator in ("pyhessian", "engine")
            for part in ("seconds", "top_eigenvalue", "residual", "trace", "trace_stderr")
        ),
        "trace_difference_in_stderr",
    ],
}


def main(snakemake):
    settings, wanted = dict(snakemake.params.settings), snakemake.params.geometry
    split, samples = settings.pop("split"), settings.pop("samples")
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits), device, [split]
    )
    chosen = tensors.subset(data.splits[split], samples).split
    runs = []
    for model_file, run_file in zip(snakemake.input.model, snakemake.input.run, strict=True):
        run = read_json(Path(run_file))
        if run["status"] == "completed":
            verify(Path(model_file), run["sha256"]["model.pt"])
            runs.append((RunSpec.from_dict(run["spec"]), Path(model_file)))
    gammas = [spec.objective.gamma for spec, _ in runs]
    tables = {name: [] for name in COLUMNS}
    for spec, file in runs:
        logging.info("%s: spectrum and surroundings", spec.folder)
        model = build_model(spec, data, device)
        model.load_state_dict(load_weights(file, device))
        cross_entropy = build_loss(CROSS_ENTROPY)
        own = cross_entropy if spec.objective.is_cross_entropy else build_loss(spec.objective)
        found = look(
            model,
            {"objective": own, "cross_entropy": cross_entropy},
            chosen.images,
            chosen.labels,
            settings,
            derive_seed("geometry", spec.model, spec.seed),
            probes=wanted["probes"],
            steps=wanted["steps"],
            reach=wanted["reach"],
            resolution=wanted["resolution"],
            surface=spec.objective.gamma in (min(gammas), max(gammas)),
        )
        keys = {"model": spec.model, "gamma": spec.objective.gamma, "seed": spec.seed}
        for name, rows in found.items():
            tables[name] += [keys | row for row in rows]
    for name, rows in tables.items():
        write_csv(Path(snakemake.output[name]), rows, COLUMNS[name])


if "snakemake" in globals():
    job.run(main, snakemake)
