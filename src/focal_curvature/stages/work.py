"""What a stage's job is given to work on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from focal_curvature.data import tensors
from focal_curvature.data.tensors import Split, Tensors
from focal_curvature.settings.curvature import Curvature
from focal_curvature.trained import TrainedRun


@dataclass(frozen=True)
class Work:
    """Trained runs and their data.

    Attributes
    ----------
    runs : list of TrainedRun
    dataset, splits : Path
        The data set's folder, and the file of its splits.
    device : torch.device
    curvature : Curvature
        The experiment's settings.
    bins : int
        Of the calibration error.
    """

    runs: list[TrainedRun]
    dataset: Path
    splits: Path
    device: torch.device
    curvature: Curvature
    bins: int

    @property
    def completed(self) -> list[TrainedRun]:
        """The runs that did not diverge."""
        return [run for run in self.runs if run.completed]

    @cached_property
    def data(self) -> Tensors:
        """All splits."""
        changes = self.runs[0].spec.data  # a model's runs are all alike
        return tensors.load(self.dataset, self.splits, self.device, changes=changes)

    def sample(self, size: int | None, key: str) -> Split:
        """Return the images that curvature is measured on; ``key`` says where the size is from."""
        return tensors.subset(self.data.splits[self.curvature.split], size, key).split
