"""Train a run, or all seeds of a cell one after the other; each keeps its own files."""

import logging
import signal
import sys
import threading
import time
from pathlib import Path

import job
import numpy as np

from focal_curvature import provenance
from focal_curvature.curvature.tracking import traces
from focal_curvature.data import tensors
from focal_curvature.files import exclusive, sha256, write_atomically, write_csv, write_json
from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.sources import content_hash
from focal_curvature.training import (
    StoppedError,
    build_loss,
    choose_device,
    deterministic,
    save_weights,
    train,
)


def main(snakemake):
    terminated = threading.Event()
    # Sent ahead of a time limit or a preemption: the epoch in progress is finished first.
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits[0]).parent, device
    )
    made = snakemake.output
    try:
        for spec, *files in zip(
            snakemake.params.specs, made.model, made.history, made.logits, made.run, strict=True
        ):
            files = [Path(file) for file in files]
            with exclusive(files[0].parent):
                train_run(RunSpec.from_dict(spec), data, files, snakemake, terminated.is_set)
    except StoppedError as stopped:
        logging.warning("%s", stopped)
        sys.exit(job.STOPPED)


def train_run(spec, data, files, snakemake, stop):
    started = time.perf_counter()
    model, history, logits, record = files
    device = data.splits["train"].images.device
    checkpoint = model.with_name("checkpoint.pt")
    # All inputs: the sources, the data and the splits.
    inputs = content_hash(Path(file) for file in snakemake.input)
    fingerprint = f"{spec} {snakemake.threads} {device} {inputs}"
    outcome = train(
        spec,
        data,
        bins=snakemake.params.bins,
        checkpoint=checkpoint,
        checkpoint_seconds=snakemake.config["jobs"]["checkpoint_seconds"],
        fingerprint=fingerprint,
        stop=stop,
        measure=traces_along(spec, data),
    )
    save_weights(model, outcome.weights)
    write_csv(history, outcome.history)
    with write_atomically(logits) as stream:
        np.savez(
            stream,
            **{f"{name}_logits": values for name, values in outcome.logits.items()},
            **{f"{name}_labels": s.labels.cpu().numpy() for name, s in data.splits.items()},
        )
    write_json(
        record,
        {
            "run": spec.folder,
            "status": outcome.status,
            "reason": outcome.reason,
            "spec": spec.to_dict(),
            "parameters": outcome.parameters,
            "normalisation": {"mean": data.mean, "std": data.std},
            "samples": {name: len(split.labels) for name, split in data.splits.items()},
            "device": provenance.device_name(device),
            "threads": snakemake.threads,
            "resumed_from_epoch": outcome.resumed_from,
            "inputs_sha256": inputs,
            "sha256": {file.name: sha256(file) for file in (model, history, logits)},
            "seconds": round(time.perf_counter() - started, 3),
            **provenance.collect(),
        },
    )


def traces_along(spec, data):
    """Return what adds both traces to the history of a regularised run, if they are wanted."""
    samples = spec.training.get("trace_samples")
    if samples is None:
        return lambda *_: {}
    chosen, loss = tensors.subset(data.splits["train"], samples).split, build_loss(spec.objective)
    return lambda model, epoch: traces(
        model, loss, chosen.images, chosen.labels, derive_seed("traces", spec.seed, epoch)
    )


if "snakemake" in globals():
    job.run(main, snakemake)
