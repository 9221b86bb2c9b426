"""Training: a deterministic loop that can be stopped and resumed."""

from focal_curvature.stack import NotStackableError
from focal_curvature.training.build import build_loss, build_model
from focal_curvature.training.checkpoints import load_weights, save_weights
from focal_curvature.training.devices import choose_device, deterministic
from focal_curvature.training.loop import Outcome, StoppedError, train

__all__ = [
    "NotStackableError",
    "Outcome",
    "StoppedError",
    "build_loss",
    "build_model",
    "choose_device",
    "deterministic",
    "load_weights",
    "save_weights",
    "train",
]
