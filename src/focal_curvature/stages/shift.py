"""Predictions of trained networks on corrupted test images and on another test set."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from focal_curvature.data.corruptions import CORRUPTIONS, SEVERITIES
from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.settings import option
from focal_curvature.settings.curvature import Curvature
from focal_curvature.stages import Rows, Stage, StageSettings

if TYPE_CHECKING:
    from torch import Tensor

    from focal_curvature.stages.work import Work

SCORES = (
    "accuracy",
    "confidence_gap",
    "nll",
    "nll_refinement",
    "ece",
    "calibration_error_debiased",
)
TABLES = {
    "shift": [
        *("model", "objective", "gamma", "seed", "shift", "severity", "samples", "temperature"),
        *SCORES,
        *(f"{score}_scaled" for score in SCORES),
    ]
}


@dataclass(frozen=True, kw_only=True)
class Shift(StageSettings):
    """Runs scored under distribution shift, with the temperature of the validation split.

    Five kinds of corruption of five severities each, and another test set where one is given.
    """

    test_samples: int | None = option(
        None,
        about="how many test images, or null for all",
        choose="how many test images are corrupted (a fixed stratified draw; `null`: all)",
        minimum=1,
    )
    test_set: str | None = option(
        None,
        about="another test set, arrays of the same shape and classes",
        choose="another test set: a `.npz` file with `inputs` and `labels` as of `data.source`, of "
        "the data's shape, type and names of classes",
        minLength=1,
    )
    test_set_sha256: str | None = option(
        None,
        about="what that file must hash to",
        choose="the SHA-256 of that file, by which a change of it is noticed: needed with it",
        pattern=r"^[0-9a-f]{64}(?!\n)$",
    )

    def problems(self, runs: Sequence[RunSpec]) -> Iterator[str]:
        """Say what does not go with the runs, and whether the other test set is there."""
        yield from super().problems(runs)
        if (self.test_set is None) != (self.test_set_sha256 is None):
            yield "test_set: goes together with test_set_sha256"
        elif self.test_set and not (
            Path(self.test_set).suffix == ".npz" and Path(self.test_set).is_file()
        ):
            yield f"test_set: {self.test_set} is no .npz file that exists"

    def measurements(self, curvature: Curvature) -> float:
        """Return the cost of a forward pass for each of 26 or 27 conditions."""
        return 0.2


def measure(work: Work, settings: Shift) -> Mapping[str, Rows]:
    """Score all completed runs under all conditions."""
    from focal_curvature.calibration import fit_temperature, log_softmax
    from focal_curvature.calibration.scores import essentials
    from focal_curvature.training.evaluation import logits_of

    temperatures = {}
    for run in work.completed:
        arrays = run.logits()
        temperatures[run.folder] = fit_temperature(
            arrays["validation_logits"], arrays["validation_labels"]
        ).value
    rows: Rows = []
    for shift, severity, images, labels in _conditions(work, settings):
        logging.info("%s %s: %s runs", shift, severity, len(work.completed))
        for run in work.completed:
            logits = logits_of(run.model(work.data, work.device), images)
            values = logits.double().cpu().numpy()
            temperature = temperatures[run.folder]
            truth = labels.cpu().numpy()
            row = run.keys | {"shift": shift, "severity": severity, "samples": len(truth)}
            row["temperature"] = temperature
            for suffix, log_probabilities in (
                ("", log_softmax(values)),
                ("_scaled", log_softmax(values / temperature)),
            ):
                scores = essentials(log_probabilities, truth, work.bins)
                row |= {f"{score}{suffix}": scores[score] for score in SCORES}
            rows.append(row)
    return {"shift": rows}


def _conditions(work: Work, settings: Shift) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """Yield name, severity, normalised images and labels of every condition, none at first."""
    import torch

    from focal_curvature.data import tensors
    from focal_curvature.data.corruptions import corrupt

    data = work.data
    test = tensors.subset(data.splits["test"], settings.test_samples, "shift.test_samples").split
    mean, std = (
        torch.tensor(values, device=work.device)[:, None, None] for values in (data.mean, data.std)
    )
    yield "none", 0, test.images, test.labels
    pixels = (test.images * std + mean).cpu().numpy()
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            changed = corrupt(pixels, kind, severity, derive_seed("shift", kind, severity))
            images = torch.from_numpy(changed).to(work.device)
            yield kind, severity, (images - mean) / std, test.labels
    if settings.test_set:
        images, labels = _other(work, Path(settings.test_set), str(settings.test_set_sha256))
        yield "test_set", 0, (images - mean) / std, labels


def _other(work: Work, source: Path, expected: str) -> tuple[Tensor, Tensor]:
    """Return pixels, from 0 to 1 as of the data, and labels of another test set."""
    import numpy as np
    import torch

    from focal_curvature.data import arrays, numbers

    trained_on = arrays.read(work.dataset)
    with TemporaryDirectory() as folder:
        numbers.decode(source, Path(folder), name="test_set", label=None, expected=expected)
        other = arrays.read(Path(folder))
        images = np.array(other.images, dtype=np.float32) / trained_on.scale
    if (
        other.images.shape[1:] != trained_on.images.shape[1:]
        or other.images.dtype != trained_on.images.dtype
    ):
        raise ValueError(
            f"shift.test_set: {source}: {other.images.dtype} {other.images.shape[1:]}, "
            f"the data are {trained_on.images.dtype} {trained_on.images.shape[1:]}"
        )
    if unknown := sorted(set(other.classes) - set(trained_on.classes)):
        raise ValueError(f"shift.test_set: {source}: class {unknown[0]} is none of the data's")
    number = np.array([trained_on.classes.index(name) for name in other.classes])
    return (
        torch.from_numpy(images).to(work.device),
        torch.from_numpy(number[other.labels]).to(work.device),
    )


STAGE = Stage(
    Shift,
    TABLES,
    measure,
    "Score predictions under distribution shift",
    by_run=True,
    images=True,
)
