"""The training loop: of one run, or of several that differ in nothing but their seed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focal_curvature.data.augment import augment
from focal_curvature.data.tensors import Tensors
from focal_curvature.kernels import IMAGES, require_native_gradient
from focal_curvature.memory import advise
from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.stack import Stack, stack
from focal_curvature.trained import Outcome
from focal_curvature.training.build import (
    blaming_arguments,
    build_forward,
    build_loss,
    build_model,
    build_regulariser,
)
from focal_curvature.training.evaluation import CHUNK, scores
from focal_curvature.training.optimizer import Optimizer
from focal_curvature.training.schedule import learning_rate
from focal_curvature.weights import load_checkpoint, save_weights

logger = logging.getLogger(__name__)

LOG_SECONDS = 10  # between lines of progress


class StoppedError(Exception):
    """Training was asked to stop; its checkpoint is on disk, if it has one."""


def train(
    specs: Sequence[RunSpec],
    tensors: Tensors,
    *,
    bins: int,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
    fingerprint: str = "",
    stop: Callable[[], bool] = lambda: False,
    measure: Callable[[RunSpec, nn.Module, int], Mapping[str, float]] | None = None,
) -> list[Outcome]:
    """Train runs from their first epoch, or from their checkpoint, to the end.

    Parameters
    ----------
    specs : sequence of RunSpec
        At least one; several differ in nothing but their seed and are trained as one.
    tensors : Tensors
        The data; their device is where it is trained.
    bins : int
        Bins of the history's calibration error.
    checkpoint : Path, optional
        Where to keep one. It stays, for whoever writes the outcome to remove when that is done.
    checkpoint_seconds : float
        Least time between two of them.
    fingerprint : str
        Of everything that decides the weights; a checkpoint with another one is not resumed.
    stop : callable
        Asked after every epoch; where it returns true, a checkpoint is written and training ends.
    measure : callable, optional
        (run, its model, epochs done) -> further columns of its history, at evaluated epochs.

    Returns
    -------
    list of Outcome
        In the order of ``specs``. A run that diverges leaves the others alone. Bit-identical when
        repeated with the same runs on the same machine, versions and threads, resumed or not.

    Raises
    ------
    NotStackableError
        If there are several and their model cannot be stacked.
    StoppedError
        If ``stop`` said so before the last epoch.
    MemoryError
        If memory runs out; names the setting to change.
    ValueError
        As :func:`~focal_curvature.training.build.build_forward`, at the first step at the latest.
    KernelError
        Before the first step: if a convolution's gradient is wrong on this machine.
    """
    training = Training(specs, tensors, bins, measure)
    settings = training.settings
    if checkpoint and (saved := load_checkpoint(checkpoint, fingerprint)):
        training.resume(saved)
    last_saved = last_logged = time.monotonic()
    for epoch in range(training.outcomes[0].resumed_from, settings.epochs):
        done = epoch + 1
        last = done == settings.epochs
        training.train_epoch(epoch)
        if last or done % settings.evaluate_every == 0:
            training.evaluate(done)
        if not training.alive():
            break
        now = time.monotonic()
        if last or now - last_logged > LOG_SECONDS:
            last_logged = now
            for run in training.alive():
                words = brief(done, training.outcomes[run].history, settings.epochs)
                logger.info("%s: %s", specs[run].folder, words)
        stopping = not last and stop()
        if checkpoint and not last and (stopping or now - last_saved > checkpoint_seconds):
            last_saved = now
            save_weights(checkpoint, training.state(done) | {"fingerprint": fingerprint})
        if stopping:
            raise StoppedError(
                f"{training.name}: stopped after epoch {done} of {settings.epochs}: "
                "the same command goes on from there"
            )
    return training.finish()


class Training:
    """Runs in training: one network for all, and an outcome for each.

    Parameters are those of :func:`train`.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        tensors: Tensors,
        bins: int,
        measure: Callable[[RunSpec, nn.Module, int], Mapping[str, float]] | None = None,
    ) -> None:
        self.specs, self.tensors, self.bins, self.measure = specs, tensors, bins, measure
        first = specs[0]
        self.settings = first.training
        self.name = first.folder if len(specs) == 1 else first.cell
        images = tensors.splits["train"].images
        self.device = images.device
        models = [build_model(spec, tensors, self.device) for spec in specs]
        self._check_logits(models[0], first)
        parameters = sum(p.numel() for p in models[0].parameters() if p.requires_grad)
        self.outcomes = [Outcome(parameters=parameters) for _ in specs]
        self.networks = stack(models, images)
        self.forward = build_forward(self.networks, first, self.device)
        self.loss = build_loss(first.objective, self.device)
        self.exact_loss = build_loss(first.objective, self.device, torch.float64)  # of scores
        self._check_loss(first.objective.name)
        self.regulariser = build_regulariser(first.objective)
        self._compare_kernels()
        self.optimizer = Optimizer(self.networks.model.parameters(), self.settings)
        self.reports: dict[str, Tensor] = {}  # of a regulariser, (S, steps), in the last epoch
        self.logits: dict[str, Tensor] = {}  # (S, N, K) by split, at the last evaluation

    def _check_logits(self, model: nn.Module, spec: RunSpec) -> None:
        """Raise ValueError if a model does not return a logit per image and class."""
        images, classes = self.tensors.splits["train"].images[:2], self.tensors.classes
        model.eval()
        with torch.random.fork_rng(), torch.no_grad(), blaming_arguments(spec):
            logits = model(images)
        model.train()
        found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        if found != (len(images), classes):
            raise ValueError(
                f"models.{spec.model}: returns {found} for {len(images)} images of {classes} "
                f"classes: logits (N, {classes}) are needed"
            )

    def _check_loss(self, name: str) -> None:
        """Raise ValueError if the loss does not return one per sample."""
        if isinstance(self.loss, nn.Module) and any(
            p.requires_grad for p in self.loss.parameters()
        ):
            logger.warning("objectives.%s: the loss's own parameters are not trained", name)
        labels = self.tensors.splits["train"].labels[:2]
        found = self.loss(
            torch.zeros(len(labels), self.tensors.classes, device=self.device), labels
        )
        if (shape := tuple(getattr(found, "shape", ()))) != tuple(labels.shape):
            raise ValueError(
                f"objectives.{name}: returns {shape} for {len(labels)} samples: a loss for each is "
                "needed, as by reduction='none'"
            )

    def _compare_kernels(self) -> None:
        """Raise KernelError if a convolution's gradient is wrong on this machine."""
        data, networks = self.tensors.splits["train"], self.networks
        labels = data.labels[:IMAGES].repeat(networks.size)
        require_native_gradient(
            networks.model,
            lambda: self.loss(networks.shared(data.images[:IMAGES]).flatten(0, 1), labels).mean(),
            second=self.regulariser is not None,
        )

    def alive(self) -> list[int]:
        """Return the runs that have not diverged, as places in ``specs``."""
        return [run for run, outcome in enumerate(self.outcomes) if not outcome.reason]

    def state(self, done: int) -> dict[str, Any]:
        """Return what a later process needs to go on after ``done`` epochs."""
        return {
            "epoch": done,
            "model": self.networks.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "histories": [outcome.history for outcome in self.outcomes],
            "reasons": [outcome.reason for outcome in self.outcomes],
            "weights": [outcome.weights for outcome in self.outcomes],
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.networks.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        parts = (state["histories"], state["reasons"], state["weights"])
        for outcome, history, reason, weights in zip(self.outcomes, *parts, strict=True):
            outcome.history, outcome.reason, outcome.weights = history, reason, weights
            outcome.resumed_from = state["epoch"]
        logger.info("%s: resumed after epoch %d", self.name, state["epoch"])

    def train_epoch(self, epoch: int) -> None:
        """Take the steps of an epoch; a run that ends in anything not finite has diverged."""
        settings, data = self.settings, self.tensors.splits["train"]
        size, count = self.networks.size, settings.batch_size
        seeds = [derive_seed("epoch", spec.seed, epoch) for spec in self.specs]
        # Everything random in an epoch follows from the seed and its number: a resumed run and an
        # undisturbed one draw the same, and so do all objectives and whatever runs are beside it.
        order = torch.stack([_permutation(len(data.labels), s) for s in seeds], dim=1)
        generators = [torch.Generator(self.device).manual_seed(s) for s in seeds]
        # Of its own, or a regularised run would draw other images than a plain one.
        probes = [
            torch.Generator(self.device).manual_seed(derive_seed("regulariser", spec.seed, epoch))
            for spec in self.specs
        ]
        steps = math.ceil(len(order) / count)
        reports = []
        self.networks.model.train()
        several = size > 1
        with advise(
            f"out of memory on {self.device} with training.batch_size {count}"
            f"{f' and {size} seeds at once' if several else ''}: lower it"
            f"{' or set training.stacked to false' if several else ''}"
        ):
            # Nearly equal batches: batch norm fails on a last batch of one.
            for step, batch in enumerate(order.to(self.device).tensor_split(steps)):
                images = [
                    augment(data.images[mine], settings.augmentation, draws, self.tensors.black)
                    for mine, draws in zip(batch.T, generators, strict=True)
                ]
                shown = torch.stack(images, dim=1) if several else images[0][:, None]
                at = epoch * steps + step
                reports.append(self._step(shown, data.labels[batch.T], probes, at))
                if settings.clip_norm is not None:
                    _clip(self.networks, settings.clip_norm)
                self.optimizer.step(learning_rate(settings, epoch, step, steps))
        none = torch.full((size,), math.nan, device=self.device)
        keys = dict.fromkeys(key for report in reports for key in report)  # in one order always
        self.reports = {key: torch.stack([r.get(key, none) for r in reports], 1) for key in keys}
        # Checked once an epoch: a look at every step would make a GPU wait for it.
        self._require_finite_steps(self.reports.pop("loss").tolist(), epoch)

    def _step(
        self, images: Tensor, labels: Tensor, probes: Sequence[torch.Generator], step: int
    ) -> dict[str, Tensor]:
        """Leave the gradient of a step in the parameters; return the losses and reports, (S,)."""
        reduction = self.settings.reduction
        self.optimizer.zero_grad()
        added = self.specs[0].objective.regulariser
        plain = self.forward is not self.networks and added and step % added.every
        if self.regulariser and not plain:
            rest = (self.loss, images, labels, reduction, probes, step)
            return self.regulariser(self.networks, *rest)
        losses = self.loss(self.forward(images).flatten(0, 1), labels.flatten())
        totals = getattr(losses.view(len(labels), -1), reduction)(dim=1)
        totals.sum().backward()  # a run's loss moves its own weights alone
        return {"loss": totals.detach()}

    def _require_finite_steps(self, losses: Sequence[Sequence[float]], epoch: int) -> None:
        """End runs of which a loss of an epoch's steps, or a weight after it, is not finite."""
        remedy = "lower training.learning_rate or set training.clip_norm"
        if added := self.specs[0].objective.regulariser:
            remedy = f"lower regularisers.{added.name}, or {remedy}"
        names = self.networks.not_finite()
        for run in self.alive():
            steps = losses[run]
            for step, value in enumerate(steps):
                if not math.isfinite(value):
                    place = f"in epoch {epoch + 1}, step {step + 1} of {len(steps)}"
                    self._end(run, f"loss {value} {place}: {remedy}")
                    break
            else:
                if names[run]:
                    last = f"epoch {epoch + 1}, last loss {steps[-1]:.6g}"
                    self._end(run, f"{names[run]} is not finite after {last}: {remedy}")

    def _end(self, run: int, reason: str) -> None:
        logger.error("%s: diverged: %s", self.specs[run].folder, reason)
        self.outcomes[run].reason = reason
        self.outcomes[run].weights = self.networks.state(run)

    def evaluate(self, done: int) -> None:
        """Add a row to the histories of the runs; one whose logits are not finite has diverged."""
        self.logits = {}
        for name in ("train", "validation"):
            self._look_at(name, done)
        for run in self.alive():
            row: dict[str, float] = {"epoch": done}
            for name, logits in self.logits.items():
                labels = self.tensors.splits[name].labels
                of_split = scores(logits[run], labels, self.exact_loss, self.bins)
                row |= {f"{name}_{key}": value for key, value in of_split.items()}
            # A step without a penalty reports NaN, or nothing.
            row |= {key: float(values[run].nanmean()) for key, values in self.reports.items()}
            if self.measure:
                row |= self.measure(self.specs[run], self.networks.network(run), done)
            self.outcomes[run].history.append(row)

    def _look_at(self, name: str, done: int) -> None:
        """Predict a split in evaluation mode; a run whose logits are not finite has diverged."""
        images, size = self.tensors.splits[name].images, self.networks.size
        chunk = max(1, CHUNK // size)
        several = size > 1
        remedy = "make the model smaller (models.<name>.arguments) or set device to cpu"
        self.networks.model.eval()
        with (
            advise(
                f"out of memory on {images.device} while evaluating {chunk} images "
                f"{f'of {size} seeds ' if several else ''}at a time: "
                f"{'set training.stacked to false' if several else remedy}"
            ),
            torch.no_grad(),
        ):
            logits = [self.networks.shared(part) for part in images.split(chunk)]
            self.logits[name] = torch.cat(logits, dim=1)
        finite = self.logits[name].isfinite().flatten(1).all(dim=1).tolist()
        for run in self.alive():
            if not finite[run]:
                self._end(
                    run,
                    f"logits of the {name} split are not finite after epoch {done}: "
                    "lower training.learning_rate or set training.clip_norm",
                )

    def finish(self) -> list[Outcome]:
        """Return the outcomes, with the logits of all splits."""
        splits = self.tensors.splits
        for name in splits:
            if self.alive() and name not in self.logits:
                self._look_at(name, self.settings.epochs)
        empty = np.empty((0, self.tensors.classes), np.float32)
        for run, outcome in enumerate(self.outcomes):
            if outcome.reason:
                outcome.logits = dict.fromkeys(splits, empty)
            else:
                outcome.logits = {name: self.logits[name][run].cpu().numpy() for name in splits}
                outcome.weights = self.networks.state(run)
        return self.outcomes


def _permutation(count: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.randperm(count)


def _clip(networks: Stack, most: float) -> None:
    """Bound each run's gradient norm, as ``nn.utils.clip_grad_norm_`` bounds one run's."""
    parameters = [p for p in networks.model.parameters() if p.grad is not None]
    factors = (most / (networks.norms([p.grad for p in parameters]) + 1e-6)).clamp(max=1)
    for parameter in parameters:
        parameter.grad = networks.scaled(parameter.grad, factors)


def brief(done: int, history: Sequence[Mapping[str, Any]], epochs: int) -> str:
    """Word how far training is, and its history's last row, which may be of an earlier epoch."""
    text = f"epoch {done} of {epochs}"
    if not history:
        return text
    row = history[-1]
    earlier = "" if row["epoch"] == done else f", scores of epoch {row['epoch']:.0f}"
    return (
        f"{text}{earlier}: loss {row['train_loss']:.4g}, "
        f"validation accuracy {row['validation_accuracy']:.4f}, ECE {row['validation_ece']:.4f}"
    )
