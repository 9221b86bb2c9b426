"""What a job asks a cluster for: minutes and memory, from the model, the data set and the attempt.

Rough on purpose, and on the generous side: a limit that is too low costs a second attempt, which
asks for twice as much; a run that was cut off goes on from its checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from focal_curvature import stages
from focal_curvature.data import size
from focal_curvature.registry import about
from focal_curvature.runs import Regulariser, RunSpec
from focal_curvature.settings import read
from focal_curvature.settings.curvature import Curvature

Stage = Literal["train", "curvature", "calibration"]

_UNKNOWN_COST = 600  # a model of the user's own: about a ResNet-18

# Images and side in pixels: a data set of the user's own is taken to be of CIFAR's size.
_OTHER_DATA = (60_000, 32)

# Sustained multiply-adds per second, a third to a tenth of what was seen or is advertised.
_CPU_THREAD, _GPU = 5e9, 2e12
_STEP = 0.02  # seconds of overhead per training step, the worst seen for deep networks
_GRADIENT = 3  # forward passes
_PRODUCT = 4 * _GRADIENT  # a Hessian-vector product costs at most about four gradients
_ACTIVATIONS = 0.01  # stored values per multiply-add and image
_UNKNOWN_STEP = 5  # plain ones that a step costs with a regulariser of the user's own
_COMPILE = 600  # seconds
_START = 60  # seconds to import torch from a cold shared file system and load the data


def needs(
    stage: Stage,
    config: Mapping[str, Any],
    model: str,
    *,
    runs: int,
    gpu: bool,
    attempt: int,
    regulariser: Regulariser | None = None,
) -> dict[str, int]:
    """Return what a job asks for at an attempt.

    Parameters
    ----------
    stage : {"train", "curvature", "calibration"}
    config : mapping
        A complete configuration. ``models.<model>.resources.<stage>`` in it replaces the estimate.
    model : str
        Name of the model in the configuration.
    runs : int
        How many runs the job serves.
    gpu : bool
        Whether it runs on a GPU.
    attempt : int
        1 at first; each further attempt asks for twice as much as the one before.
    regulariser : Regulariser or None
        Of the runs.

    Returns
    -------
    dict
        ``runtime`` in minutes and ``mem_mb`` in megabytes of main memory.
    """
    settings = config["models"][model]
    asked = _estimate(stage, config, model, runs, gpu, regulariser)
    asked |= settings.get("resources", {}).get(stage, {})
    return {key: value * 2 ** (attempt - 1) for key, value in asked.items()}


def needs_of_stage(
    stage: stages.Stage,
    settings: stages.StageSettings,
    config: Mapping[str, Any],
    runs: Sequence[RunSpec],
    *,
    per_job: Mapping[str, int],
    gpu: bool,
    attempt: int,
) -> dict[str, int]:
    """Return what a job that does a stage with some runs asks for, as :func:`needs`.

    Parameters
    ----------
    stage, settings
    config : mapping
        A complete configuration.
    runs : sequence of RunSpec
    per_job : mapping
        How many runs the jobs that train, and that measure curvature, serve: it is for these that
        the user's own numbers stand.
    gpu, attempt
        As for :func:`needs`.
    """
    curvature = config["curvature"]
    samples = getattr(settings, "samples", curvature["samples"])
    config = {**config, "curvature": curvature | {"samples": samples}}
    times = settings.measurements(read(Curvature, curvature))
    parts = []
    for run in runs:
        for kind, share in (("curvature", times), ("train", int(stage.trains))):
            added = run.objective.regulariser if kind == "train" else None
            served = per_job[kind]
            asked = needs(
                kind, config, run.model, runs=served, gpu=gpu, attempt=attempt, regulariser=added
            )
            if share:
                parts.append((asked["runtime"] * share / served, asked["mem_mb"]))
    started = _minutes(_START) * 2 ** (attempt - 1)
    minutes, megabytes = zip(*parts, strict=True) if parts else ((started,), (2000,))
    return {"runtime": math.ceil(sum(minutes)), "mem_mb": max(megabytes)}


def _estimate(
    stage: Stage,
    config: Mapping[str, Any],
    model: str,
    runs: int,
    gpu: bool,
    regulariser: Regulariser | None,
) -> dict[str, int]:
    if stage == "calibration":
        return {"runtime": _minutes(_START + 3 * runs), "mem_mb": 2000}
    data, curvature = config["data"], config["curvature"]
    images, side = size(data["name"]) or _OTHER_DATA
    side = data["size"] or side
    training = config["training"] | config["models"][model]["training"]
    name = config["models"][model].get("architecture", model)
    work = about("models").get(name, {}).get("cost", _UNKNOWN_COST) * 1e6 * (side / 32) ** 2
    rate = _GPU if gpu else _CPU_THREAD * config["threads"]
    used = data["train"] or images
    if stage == "train":
        steps = training["epochs"] * math.ceil(used / training["batch_size"])
        # The validation and test images are evaluated as well.
        passes = training["epochs"] * (_GRADIENT * used + images / training["evaluate_every"])
        seconds = runs * (passes * work / rate + steps * _STEP) * _plain_steps(regulariser)
        seconds += _COMPILE if training["compile"] else 0
        held = training["batch_size"] * (runs if training["stacked"] else 1)
    else:
        samples = min(curvature["samples"] or used, images)
        # Under two losses; both halves of a sample together are another one.
        measurements = 2 * (1 + curvature["halves"])
        products = measurements * (curvature["probes"] + curvature["max_iterations"])
        seconds = runs * products * (samples * _PRODUCT * work / rate + _STEP)
        held = 2 * min(curvature["chunk"], samples)
    megabytes = 1500 + 3 * images * 3 * side**2 * 4 / 1e6
    if not gpu:
        megabytes += held * work * _ACTIVATIONS * 4 / 1e6
    return {"runtime": _minutes(_START + 2 * seconds), "mem_mb": math.ceil(megabytes / 100) * 100}


def _plain_steps(regulariser: Regulariser | None) -> float:
    if regulariser is None:
        return 1
    steps = about("regularisers").get(regulariser.name, {}).get("steps", _UNKNOWN_STEP)
    return 1 + (steps - 1) / regulariser.every


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)
