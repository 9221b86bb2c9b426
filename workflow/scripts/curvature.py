"""Measure the curvature of trained models, under their own objective and under cross-entropy."""

import hashlib
import json
import logging
import time
from pathlib import Path

import job

from focal_curvature import provenance
from focal_curvature.curvature import estimate
from focal_curvature.data import tensors
from focal_curvature.files import write_json
from focal_curvature.runs import CROSS_ENTROPY, RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.training import (
    build_loss,
    build_model,
    choose_device,
    deterministic,
    load_weights,
)


def main(snakemake):
    settings = dict(snakemake.params.settings)
    split, samples = settings.pop("split"), settings.pop("samples")
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits[0]).parent, device
    )
    chosen = tensors.subset(data.splits[split], samples)
    images, labels = chosen.split.images, chosen.split.labels
    for model_file, run_file, *outputs in zip(
        snakemake.input.model,
        snakemake.input.run,
        snakemake.output.objective,
        snakemake.output.cross_entropy,
        strict=True,
    ):
        run = json.loads(Path(run_file).read_text())
        spec = RunSpec.from_dict(run["spec"])
        model = build_model(spec, data, device)
        model.load_state_dict(load_weights(Path(model_file), device))
        results = {}
        for output, objective in zip(outputs, (spec.objective, CROSS_ENTROPY), strict=True):
            started = time.perf_counter()
            record = {
                "run": spec.folder,
                "status": run["status"],
                "loss": objective.slug,
                "split": split,
                "samples_sha256": chosen.sha256,
            }
            if run["status"] == "completed":
                if objective.slug not in results:
                    seed = derive_seed("curvature", spec.model, spec.seed)
                    results[objective.slug] = estimate(
                        model, build_loss(objective), images, labels, settings, seed
                    ).to_dict()
                    found = results[objective.slug]
                    logging.info(
                        "%s, Hessian of %s: top eigenvalue %.4g, trace %.4g +- %.2g",
                        spec.folder,
                        objective.slug,
                        found["top_eigenvalue"]["estimate"],
                        found["trace"]["estimate"],
                        found["trace"]["stderr"],
                    )
                record |= results[objective.slug]
            record |= {
                "settings": settings,
                "weights_sha256": hashlib.sha256(Path(model_file).read_bytes()).hexdigest(),
                "device": provenance.device_name(device),
                "threads": snakemake.threads,
                "seconds": round(time.perf_counter() - started, 3),
                **provenance.collect(),
            }
            write_json(Path(output), record)


if "snakemake" in globals():
    job.run(main, snakemake)
