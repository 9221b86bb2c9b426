"""Train seeds of the default experiment in this process: what a job of the workflow does.

python benchmarks/digits_run.py FOLDER MODEL SEED...
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import torch
import yaml

from focal_curvature.data import tensors
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.training import deterministic, train

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
TRAINING = Training(**CONFIG["training"])
BINS = CONFIG["calibration"]["bins"]

if __name__ == "__main__":
    folder, model, *seeds = sys.argv[1:]
    deterministic(1)
    data = tensors.load(Path(folder, "data"), Path(folder, "splits.json"), torch.device("cpu"))
    factory = f"focal_curvature.models.{model}:{model}"
    objective = Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2})
    specs = [
        RunSpec("digits", model, factory, {}, objective, int(seed), TRAINING) for seed in seeds
    ]
    train(specs, data, bins=BINS)
