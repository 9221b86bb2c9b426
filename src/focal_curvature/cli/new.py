"""``focal-curvature new``: a configuration for one's own data, and what it will cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from focal_curvature import config as configuration
from focal_curvature.files import write_atomically
from focal_curvature.resources import needs
from focal_curvature.runs import expand

TEXT = """\
# Every key is explained in config/README.md; what is left out has its default.
experiment: {name}
device: auto   # cuda, then cpu
data:
  name: {name}
  source: {source}
  size: {size}            # images are resized to this many pixels a side
  validation: {validation}   # held out from training, for the temperature
  train: {train}        # null: all that are left
models: {{{models}}}
objectives:
  focal:
    gamma: [{gammas}]   # 0 is cross-entropy
seeds: [{seeds}]   # at least five for an interval worth the name
training:
  epochs: {epochs}   # long enough to fit the training images
  batch_size: 128
  learning_rate: 0.05
  weight_decay: 5.0e-4
  augmentation: none
  evaluate_every: {every}
curvature:
  estimator: engine
  samples: 1000   # a fixed draw of the training images
jobs: {{curvature: cell, calibration: cell}}
"""


def run(
    file: Path,
    source: Path,
    size: int,
    models: list[str],
    gammas: list[float],
    seeds: int,
    epochs: int,
    train: int | None,
    validation: int,
) -> None:
    """Write a configuration that is checked, and say what it asks for."""
    if file.exists():
        raise ValueError(f"{file}: exists: give another name, or remove it")
    if not source.exists():
        raise ValueError(f"--source: {source} does not exist")
    text = TEXT.format(
        name=file.stem,
        source=yaml.safe_dump(str(source), width=math.inf).splitlines()[0],
        size=size,
        validation=validation,
        train="null" if train is None else train,
        models=", ".join(f"{model}: {{}}" for model in models),
        gammas=", ".join(f"{gamma:g}" for gamma in gammas),
        seeds=", ".join(map(str, range(seeds))),
        epochs=epochs,
        every=max(epochs // 10, 1),
    )
    complete = configuration.load(yaml.safe_load(configuration.once(text)))
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(file) as stream:
        stream.write(text.encode())
    print(f"{file}: {cost(complete)}")
    print(f"snakemake --cores all --configfile {file}")


def cost(config: dict[str, Any]) -> str:
    """Say how many runs a configuration has, and the most that their jobs ask for."""
    runs = expand(config)
    parts = []
    for gpu, where in ((False, "on a processor's cores"), (True, "on a GPU")):
        asked = [
            needs(
                stage,
                config,
                run.model,
                runs=1,
                gpu=gpu,
                attempt=1,
                regulariser=run.objective.regulariser,
            )
            for run in runs
            for stage in ("train", "curvature", "calibration")
        ]
        hours = sum(each["runtime"] for each in asked) / 60
        memory = max(each["mem_mb"] for each in asked) / 1000
        parts.append(f"{hours:,.0f} hours {where}, {memory:,.1f} GB a job")
    return f"{len(runs)} runs; at most, and mostly far less: {'; '.join(parts)}"
