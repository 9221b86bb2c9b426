"""Measure the curvature of trained models, under their own loss and under cross-entropy."""

import logging
import time
from contextlib import ExitStack
from pathlib import Path

import job

from focal_curvature import provenance
from focal_curvature.curvature.memory import estimate_within_memory
from focal_curvature.data import tensors
from focal_curvature.files import exclusive, read_json, verify, write_json
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
    with ExitStack() as locks:
        for folder in dict.fromkeys(Path(output).parent for output in snakemake.output):
            locks.enter_context(exclusive(folder))
        measure_cell(snakemake)


def measure_cell(snakemake):
    settings = dict(snakemake.params.settings)
    split, samples = settings.pop("split"), settings.pop("samples")
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits), device, [split]
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
        run = read_json(Path(run_file))
        weights_sha256 = run["sha256"]["model.pt"]
        verify(Path(model_file), weights_sha256)
        spec = RunSpec.from_dict(run["spec"])
        model = build_model(spec, data, device)
        model.load_state_dict(load_weights(Path(model_file), device))
        results = {}
        for output, objective in zip(outputs, (spec.objective.base, CROSS_ENTROPY), strict=True):
            started = time.perf_counter()
            record = {
                "run": spec.folder,
                "status": run["status"],
                "reason": run["reason"],
                "loss": objective.slug,
                "split": split,
                "samples_sha256": chosen.sha256,
                "settings": settings,
            }
            if run["status"] == "completed":
                if objective.slug not in results:
                    seed = derive_seed("curvature", spec.model, spec.seed)
                    results[objective.slug] = measure(
                        f"{spec.folder}, Hessian of {objective.slug}",
                        (model, build_loss(objective), images, labels, settings, seed),
                    )
                record |= results[objective.slug]
            record |= {
                "weights_sha256": weights_sha256,
                "device": provenance.device_name(device),
                "threads": snakemake.threads,
                "seconds": round(time.perf_counter() - started, 3),
                **provenance.collect(),
            }
            write_json(Path(output), record)


def measure(name, arguments):
    """Estimate, and say so; a Hessian that is not finite is a finding, not an end of the job."""
    try:
        result, settings = estimate_within_memory(*arguments)
    except FloatingPointError as error:
        logging.error("%s: %s", name, error)
        return {"status": "failed", "reason": str(error)}
    found = result.to_dict()
    eigenvalue, trace = found["top_eigenvalue"], found["trace"]
    logging.info(
        "%s: top eigenvalue %.4g, trace %.4g +- %.2g",
        name,
        eigenvalue["estimate"],
        trace["estimate"],
        trace["stderr"],
    )
    return {**found, "settings": settings}


if "snakemake" in globals():
    job.run(main, snakemake)
