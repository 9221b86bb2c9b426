"""Train seeds of the default experiment in this process: what a job of the workflow does.

python benchmarks/digits_run.py FOLDER MODEL SEED...
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import torch

from focal_curvature.data import tensors
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.training import deterministic, train, train_stacked

TRAINING = {
    "epochs": 40,
    "batch_size": 32,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "milestones": [],
    "factor": 0.1,
    "reduction": "mean",
    "clip_norm": None,
    "augmentation": "none",
    "evaluate_every": 1,
}

if __name__ == "__main__":
    folder, model, *seeds = sys.argv[1:]
    deterministic(1)
    data = tensors.load(Path(folder, "data"), Path(folder, "splits"), torch.device("cpu"))
    factory = f"focal_curvature.models.{model}:{model}"
    objective = Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2})
    specs = [
        RunSpec("digits", model, factory, {}, objective, int(seed), TRAINING) for seed in seeds
    ]
    if len(specs) > 1:
        train_stacked(specs, data, bins=15)
    else:
        train(specs[0], data, bins=15)
