"""Learning rates as a function of the step alone, so that a resumed run needs no state."""

from __future__ import annotations

import math

from focal_curvature.settings.training import Training


def learning_rate(settings: Training, epoch: int, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    settings : Training
        Its schedule.
    epoch, step : int
        From 0; the step within the epoch.
    steps : int
        Steps per epoch.
    """
    peak = settings.learning_rate
    match settings.schedule:
        case "cosine":  # Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts
            done = (epoch * steps + step) / (settings.epochs * steps)
            return peak * 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            return peak * settings.factor ** sum(epoch >= m for m in settings.milestones)
        case _:
            return peak
