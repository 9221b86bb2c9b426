"""Measure the curvature of trained models, under their own loss and under cross-entropy."""

import logging
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import job

from focal_curvature import provenance
from focal_curvature.curvature import Settings, UnsupportedError
from focal_curvature.curvature.memory import estimate_within_memory
from focal_curvature.data import tensors
from focal_curvature.files import exclusive, write_json
from focal_curvature.runs import CROSS_ENTROPY
from focal_curvature.seeds import derive_seed
from focal_curvature.settings import read
from focal_curvature.settings.curvature import Curvature
from focal_curvature.trained import TrainedRun
from focal_curvature.training import choose_device, deterministic


def main(snakemake):
    with ExitStack() as locks:
        for folder in dict.fromkeys(Path(output).parent for output in snakemake.output):
            locks.enter_context(exclusive(folder))
        measure_all(snakemake)


def measure_all(snakemake):
    settings = read(Curvature, snakemake.params.curvature)
    how = Settings.of(settings)
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    folder, splits = Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits)
    changes = TrainedRun(Path(snakemake.input.run[0]).parent).spec.data  # a model's are all alike
    data = tensors.load(folder, splits, device, [settings.split], changes)
    sample = tensors.subset(data.splits[settings.split], settings.samples)
    parts = [("", sample.split)]
    if settings.halves:
        parts += zip(("half 1", "half 2"), tensors.halves(sample.split), strict=True)
    files = snakemake.output
    for run_file, *outputs in zip(
        snakemake.input.run, files.objective, files.cross_entropy, strict=True
    ):
        run = TrainedRun(Path(run_file).parent)
        model = run.model(data, device)
        names = {"objective": run.spec.objective.base.slug, "cross_entropy": CROSS_ENTROPY.slug}
        results = {}
        for output, (kind, loss) in zip(outputs, run.losses().items(), strict=True):
            started = time.perf_counter()
            record = {
                "run": run.spec.folder,
                "status": run.record["status"],
                "reason": run.record["reason"],
                "loss": names[kind],
                "split": settings.split,
                "samples_sha256": sample.sha256,
                "settings": asdict(how),
            }
            if run.completed:
                if loss not in results:
                    whole, *halves = [
                        measure(
                            f"{run.spec.folder}, Hessian of {names[kind]} {part}".strip(),
                            (model, loss, split.images, split.labels, how),
                            # With probes of their own, or halves would agree by these.
                            derive_seed("curvature", run.spec.model, run.spec.seed, *part.split()),
                        )
                        for part, split in parts
                    ]
                    results[loss] = whole | {"halves": halves}
                record |= results[loss]
            record |= {
                "weights_sha256": run.record["sha256"]["model.pt"],
                "device": provenance.device_name(device),
                "threads": snakemake.threads,
                "seconds": round(time.perf_counter() - started, 3),
                **provenance.collect(),
            }
            write_json(Path(output), record)


def measure(name, arguments, seed):
    """Estimate, and say so.

    A Hessian that is not finite, or that a network has none of, is a finding, not an end of the
    job: what else was measured is kept.
    """
    try:
        result, used = estimate_within_memory(*arguments, seed)
    except (FloatingPointError, UnsupportedError) as error:
        logging.error("%s: %s", name, error)
        return {"status": "failed", "reason": str(error)}
    logging.info(
        "%s: top eigenvalue %.4g, trace %.4g +- %.2g",
        name,
        result.top_eigenvalue.estimate,
        result.trace.estimate,
        result.trace.stderr,
    )
    return {"status": "completed", "reason": None, **result.to_dict(), "settings": asdict(used)}


if "snakemake" in globals():
    job.run(main, snakemake)
