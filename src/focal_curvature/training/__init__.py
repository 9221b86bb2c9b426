"""Training: a deterministic loop that can be stopped and resumed."""

from focal_curvature.stack import NotStackableError
from focal_curvature.training.build import build_loss, build_model
from focal_curvature.training.loop import StoppedError, train

__all__ = [
    "NotStackableError",
    "StoppedError",
    "build_loss",
    "build_model",
    "train",
]
