"""What training came to, and its files: written and read, verified, as what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from focal_curvature.files import (
    read_json,
    sha256,
    verify,
    write_atomically,
    write_csv,
    write_json,
)
from focal_curvature.runs import CROSS_ENTROPY, RunSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from focal_curvature.data.tensors import Tensors


@dataclass
class Outcome:
    """What a run came to.

    Attributes
    ----------
    history : list of dict
        A row per evaluated epoch.
    reason : str or None
        For a diverged run, of which a loss, a weight or a logit was no longer finite: where.
    weights : dict
        State of the model at the end, on the CPU; of a diverged run, as it was then.
    logits : dict
        Split -> float32 array (N, K); (0, K) for a diverged run, which has none to speak of.
    parameters : int
        Number of trainable parameters.
    resumed_from : int
        The epoch that a checkpoint had reached, else 0.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    reason: str | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: int = 0
    resumed_from: int = 0

    @property
    def status(self) -> str:
        """``completed`` or ``diverged``."""
        return "diverged" if self.reason else "completed"


@dataclass(frozen=True)
class TrainedRun:
    """A run's folder.

    Every file is held against the checksum in ``run.json``: another one raises ValueError.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    @classmethod
    def write(
        cls, folder: Path, spec: RunSpec, data: Tensors, outcome: Outcome, about: Mapping[str, Any]
    ) -> TrainedRun:
        """Write a run's files, ``run.json`` last, and return the run.

        Parameters
        ----------
        folder : Path
        spec : RunSpec
        data : Tensors
            That it was trained on.
        outcome : Outcome
        about : mapping
            What else ``run.json`` is to hold.
        """
        from focal_curvature.weights import save_weights

        model, history, logits = (folder / n for n in ("model.pt", "history.csv", "logits.npz"))
        save_weights(model, outcome.weights)
        write_csv(history, outcome.history)
        with write_atomically(logits) as stream:
            np.savez(
                stream,
                **{f"{name}_logits": values for name, values in outcome.logits.items()},
                **{f"{name}_labels": s.labels.cpu().numpy() for name, s in data.splits.items()},
            )
        write_json(
            folder / "run.json",
            {
                "run": spec.folder,
                "status": outcome.status,
                "reason": outcome.reason,
                "spec": spec.to_dict(),
                "parameters": outcome.parameters,
                "normalisation": {"mean": data.mean, "std": data.std},
                "samples": {name: len(split.labels) for name, split in data.splits.items()},
                "resumed_from_epoch": outcome.resumed_from,
                "sha256": {file.name: sha256(file) for file in (model, history, logits)},
                **about,
            },
        )
        return cls(folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        return read_json(self.folder / "run.json")

    @cached_property
    def spec(self) -> RunSpec:
        """What the run is."""
        return RunSpec.from_dict(self.record["spec"])

    @property
    def completed(self) -> bool:
        """Whether it did not diverge."""
        return self.record["status"] == "completed"

    @property
    def keys(self) -> dict[str, Any]:
        """The columns by which tables tell runs apart."""
        return {
            "model": self.spec.model,
            "objective": self.spec.objective.slug,
            "gamma": self.spec.objective.gamma,
            "seed": self.spec.seed,
        }

    def file(self, name: str) -> Path:
        """Return one of the files that training made."""
        verify(self.folder / name, self.record["sha256"][name])
        return self.folder / name

    def logits(self) -> dict[str, np.ndarray]:
        """Return ``<split>_logits`` (N, K) and ``<split>_labels`` (N,) of every split."""
        with np.load(self.file("logits.npz"), allow_pickle=False) as arrays:
            return dict(arrays)

    def weights(self, device: torch.device | None = None) -> dict[str, Tensor]:
        """Return the state of the model at the end of training."""
        from focal_curvature.weights import load_weights

        return load_weights(self.file("model.pt"), device)

    def model(self, data: Tensors, device: torch.device) -> nn.Module:
        """Build the model as it was trained."""
        from focal_curvature.training import build_model

        model = build_model(self.spec, data, device)
        model.load_state_dict(self.weights(device))
        return model

    def losses(self) -> dict[str, nn.Module]:
        """Return the losses whose Hessians are meant: the ``objective``'s and ``cross_entropy``.

        One and the same for a run of cross-entropy, regularised or not.
        """
        from focal_curvature.training import build_loss

        base, cross_entropy = self.spec.objective.base, build_loss(CROSS_ENTROPY)
        loss = cross_entropy if base.is_cross_entropy else build_loss(base)
        return {"objective": loss, "cross_entropy": cross_entropy}
