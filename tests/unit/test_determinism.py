import os
import subprocess
import sys
from pathlib import Path

import torch

from focal_curvature.determinism import choose_device

SCRIPT = """
import sys
import torch
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.determinism import deterministic
from focal_curvature.training.build import build_forward
from focal_curvature.stack import Stack

deterministic(1)
assert torch.are_deterministic_algorithms_enabled()
assert "torch._dynamo" not in sys.modules, "the compiler was imported"

settings = Training(epochs=1, batch_size=1, learning_rate=0.1, compile=True)
spec = RunSpec("d", "m", "", {}, Objective("focal", "", {}), 0, settings)
build_forward(Stack([torch.nn.Linear(2, 2)]), spec, torch.device("cpu"))
assert torch._inductor.config.deterministic, "the compiler was not told"
"""


def test_a_device_without_float64_is_never_chosen(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"


def test_processes_are_deterministic_without_the_compiler_and_with_it():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)
