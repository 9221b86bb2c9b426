"""Train seeds of the default experiment in this process: what a job of the workflow does.

python benchmarks/digits_run.py FOLDER MODEL SEED...
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import torch
import yaml

from focal_curvature.data import arrays, digits, splits, tensors
from focal_curvature.determinism import deterministic
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.training import train

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
TRAINING = Training(**CONFIG["training"])
BINS = CONFIG["calibration"]["bins"]


def prepare(folder: Path) -> None:
    """Write the experiment's data and splits into a folder."""
    digits.prepare(folder / "data")
    found = splits.split(
        arrays.read(folder / "data"),
        **{name: CONFIG["data"][name] for name in ("train", "validation", "test")},
        seed=CONFIG["data"]["split_seed"],
    )
    splits.write(folder / "splits.json", found)


def run(folder: Path, model: str, seeds: Sequence[int]) -> None:
    """Train seeds of a model with focal loss on what `prepare` has written."""
    deterministic(1)
    data = tensors.load(folder / "data", folder / "splits.json", torch.device("cpu"))
    factory = f"focal_curvature.models.{model}:{model}"
    objective = Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2})
    specs = [RunSpec("digits", model, factory, {}, objective, seed, TRAINING) for seed in seeds]
    train(specs, data, bins=BINS)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], [int(seed) for seed in sys.argv[3:]])
