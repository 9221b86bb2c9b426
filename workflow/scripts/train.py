"""Train a run, or all seeds of a cell, stacked or one after the other; each keeps its own files."""

import logging
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import job
import torch

from focal_curvature import provenance
from focal_curvature.data import tensors
from focal_curvature.determinism import choose_device, deterministic
from focal_curvature.files import exclusive
from focal_curvature.registry import resolve
from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.sources import content_hash
from focal_curvature.trained import TrainedRun
from focal_curvature.training import NotStackableError, StoppedError, build_loss, train


def main(snakemake):
    terminated = threading.Event()
    # Sent ahead of a time limit or a preemption: the epoch in progress is finished first.
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    specs = [RunSpec.from_dict(spec) for spec in snakemake.params.specs]
    folder, splits = Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits)
    data = tensors.load(folder, splits, device, changes=specs[0].data)
    folders = [Path(file).parent for file in snakemake.output.run]
    try:
        if specs[0].training.stacked:
            try:
                train_group(specs, data, folders, snakemake, terminated.is_set)
                return
            except NotStackableError as reason:
                logging.warning("one seed after the other, not stacked: %s", reason)
        for spec, folder in zip(specs, folders, strict=True):
            train_group([spec], data, [folder], snakemake, terminated.is_set)
    except StoppedError as stopped:
        logging.warning("%s", stopped)
        sys.exit(job.STOPPED)


def train_group(specs, data, folders, snakemake, stop):
    """Train runs that share a checkpoint, and write the files of each."""
    started = time.perf_counter()
    checkpoint = folders[0] / "checkpoint.pt"
    inputs = content_hash(Path(file) for file in snakemake.input)
    sources, bins = snakemake.params.sources, snakemake.params.bins
    device = data.splits["train"].images.device
    fingerprint = [specs, bins, snakemake.threads, device, inputs, sources, torch.__version__]
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(exclusive(folder))
        outcomes = train(
            specs,
            data,
            bins=bins,
            checkpoint=checkpoint,
            checkpoint_seconds=snakemake.config["jobs"]["checkpoint_seconds"],
            fingerprint=" ".join(map(str, fingerprint)),
            stop=stop,
            measure=traces_along(snakemake.params.following, specs[0], data),
        )
        about = {
            "device": provenance.device_name(device),
            "threads": snakemake.threads,
            "inputs_sha256": inputs,  # the data and the splits
            "sources_sha256": sources,
            "trained_together": [spec.seed for spec in specs],
            # A run's share of those that were trained in one.
            "seconds": round((time.perf_counter() - started) / len(specs), 3),
            **provenance.collect(),
        }
        for spec, outcome, folder in zip(specs, outcomes, folders, strict=True):
            TrainedRun.write(folder, spec, data, outcome, about)
        # Not before: a job killed in between would have to train anew.
        checkpoint.unlink(missing_ok=True)


def traces_along(following, spec, data):
    """Return what adds both traces to the histories of a cell's runs, if they are followed.

    Given by name: a run that is not followed does not depend on how curvature is measured.
    """
    if following is None:
        return None
    traces = resolve(following)
    samples = spec.training.trace_samples
    sample = tensors.subset(data.splits["train"], samples, "training.trace_samples").split
    loss = build_loss(spec.objective)
    return lambda spec, model, epoch: traces(
        model, loss, sample.images, sample.labels, derive_seed("traces", spec.seed, epoch)
    )


if "snakemake" in globals():
    job.run(main, snakemake)
