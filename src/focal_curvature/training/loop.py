"""The training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focal_curvature.data.augment import augment
from focal_curvature.data.tensors import Tensors
from focal_curvature.memory import advise, out_of_memory
from focal_curvature.registry import resolve
from focal_curvature.runs import Objective, Regulariser, RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.training.checkpoints import load_checkpoint, save_weights
from focal_curvature.training.evaluation import CHUNK, logits_of, scores
from focal_curvature.training.optimizer import SGD
from focal_curvature.training.schedule import learning_rate

logger = logging.getLogger(__name__)

LOG_SECONDS = 10  # between lines of progress


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    status : str
        ``completed``, or ``diverged`` when a loss or a weight was no longer finite.
    reason : str or None
        For a diverged run: where and how.
    weights : dict
        State of the model at the end, on the CPU; of a diverged run, as it was then.
    history : list of dict
        A row per evaluated epoch.
    logits : dict
        Split -> float32 array (N, K); (0, K) for a diverged run, which has none to speak of.
    parameters : int
        Number of trainable parameters.
    resumed_from : int
        The epoch that a checkpoint had reached, else 0.
    """

    status: str
    reason: str | None
    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    logits: dict[str, np.ndarray]
    parameters: int
    resumed_from: int


class DivergenceError(ArithmeticError):
    """A loss, a weight or an output is no longer finite."""


class StoppedError(Exception):
    """Training was asked to stop; its checkpoint is on disk, if it has one."""


def build_model(spec: RunSpec, tensors: Tensors, device: torch.device) -> nn.Module:
    """Build a run's model with its initial weights.

    The weights depend on the model and the seed, not on the objective: objectives are compared
    from the same start.

    Raises
    ------
    ValueError
        If the factory fails on the arguments in the configuration.
    MemoryError
        If memory runs out.
    """
    factory, arguments = resolve(spec.model_factory), spec.model_arguments
    place = f"models.{spec.model}.arguments"
    with (
        advise(f"out of memory while building {spec.model}: make it smaller ({place})"),
        torch.random.fork_rng(),
    ):
        torch.manual_seed(derive_seed("weights", spec.model_factory, arguments, spec.seed))
        try:
            model = factory(tensors.classes, tensors.channels, tensors.size, **arguments)
        except Exception as error:  # whatever a layer raises that is given another type or size
            if out_of_memory(error) or not arguments:
                raise
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{place}: {arguments} give no model: {reason}") from error
        return model.to(device)


def build_loss(objective: Objective) -> nn.Module:
    """Build an objective's per-sample loss."""
    return _build("objectives", objective)


def build_regulariser(objective: Objective) -> Callable[..., dict[str, Tensor]] | None:
    """Build what replaces the plain gradient; see `focal_curvature.regularisers`."""
    added = objective.regulariser
    return _build("regularisers", added) if added else None


def _build(section: str, part: Objective | Regulariser) -> Any:
    """Call a factory with its parameters; what it refuses is told with its key."""
    try:
        return resolve(part.factory)(**part.parameters)
    except ValueError as error:
        raise ValueError(f"{section}.{part.name}: {error}") from error


def build_forward(
    model: nn.Module, spec: RunSpec, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return a training step's forward pass: images (N, C, H, W) to logits (N, K) of their dtype.

    As ``training.precision`` and ``training.compile`` say; the model itself stays plain, for
    evaluation, checkpoints and what is measured. Weights, gradients of weights, running statistics
    and the loss stay in float32.

    Raises
    ------
    ValueError
        If the objective has a regulariser, whose step is neither mixed nor compiled; at the first
        call, if this machine cannot compile.
    """
    settings = spec.training
    mixed = settings["precision"] == "bfloat16"
    if not mixed and not settings["compile"]:
        return model
    if spec.objective.regulariser:
        raise ValueError(
            f"regularisers.{spec.objective.regulariser.name}: needs training.precision: float32 "
            "and training.compile: false"
        )
    called = model
    if settings["compile"]:
        # Tells the compiler too, which `deterministic` does not.
        torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
        # Not for dynamic shapes: an epoch has two sizes of batches at most, compiled for each.
        called = torch.compile(model, dynamic=False)

    def forward(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            return called(images).to(images.dtype)

    return _advise_not_to_compile(forward) if settings["compile"] else forward


def _advise_not_to_compile(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    from torch._dynamo.exc import TorchDynamoException  # seconds, which others need not pay

    def advised(images: Tensor) -> Tensor:
        try:
            return forward(images)
        except TorchDynamoException as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(
                f"training.compile: true is not possible here ({reason}): set it to false, or "
                "give torch.compile what it asks for (a C++ compiler, on a GPU Triton as well)"
            ) from error

    return advised


def train(
    spec: RunSpec,
    tensors: Tensors,
    *,
    bins: int,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
    fingerprint: str = "",
    stop: Callable[[], bool] = lambda: False,
    measure: Callable[[nn.Module, int], Mapping[str, float]] = lambda *_: {},
) -> Outcome:
    """Train a run from its first epoch, or from its checkpoint, to the end.

    Parameters
    ----------
    spec : RunSpec
        What to train.
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
    measure : callable
        (model, epochs done) -> further columns of the history, at evaluated epochs.

    Returns
    -------
    Outcome
        Bit-identical when repeated on the same machine, versions and threads, resumed or not.

    Raises
    ------
    StoppedError
        If ``stop`` said so before the last epoch.
    MemoryError
        If memory runs out; names the setting to change.
    ValueError
        As :func:`build_forward`, at the first step at the latest.
    """
    settings, data = spec.training, tensors.splits["train"]
    device = data.images.device
    # Channels last: up to 1.8 times as fast on a CPU, and what tensor cores take.
    model = build_model(spec, tensors, device).to(memory_format=torch.channels_last)
    forward = build_forward(model, spec, device)
    loss = build_loss(spec.objective)
    optimizer = SGD(model.parameters(), settings)
    history: list[dict[str, float]] = []
    start = 0
    saved = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        history, start = saved["history"], saved["epoch"]
        logger.info("%s: resumed after epoch %d", spec.folder, start)
    last_saved = last_logged = time.monotonic()
    reason = None
    for epoch in range(start, settings["epochs"]):
        done = epoch + 1
        last = done == settings["epochs"]
        try:
            steps = _train_epoch(model, forward, loss, optimizer, spec, tensors, epoch)
            if last or done % settings["evaluate_every"] == 0:
                logits = {name: _logits(model, tensors, name) for name in ("train", "validation")}
                row = history_row(logits, loss, tensors, bins, done) | steps
                history.append(row | measure(model, done))
        except DivergenceError as error:
            reason = str(error)
            logger.error("%s: diverged: %s", spec.folder, reason)
            break
        now = time.monotonic()
        if last or now - last_logged > LOG_SECONDS:
            last_logged = now
            logger.info("%s: %s", spec.folder, brief(done, history, settings))
        stopping = not last and stop()
        if checkpoint and not last and (stopping or now - last_saved > checkpoint_seconds):
            last_saved = now
            save_weights(
                checkpoint,
                {
                    "fingerprint": fingerprint,
                    "epoch": done,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "history": history,
                },
            )
        if stopping:
            raise StoppedError(
                f"{spec.folder}: stopped after epoch {done} of {settings['epochs']}: "
                "the same command goes on from there"
            )
    logits = {}
    if reason is None:
        try:
            for name in tensors.splits:
                logits[name] = _logits(model, tensors, name)
                require_finite_logits(logits[name], name, settings["epochs"])
        except DivergenceError as error:
            reason = str(error)
            logger.error("%s: diverged: %s", spec.folder, reason)
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return outcome_of(reason, weights, history, logits, tensors, parameters, start)


def _train_epoch(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    loss: nn.Module,
    optimizer: SGD,
    spec: RunSpec,
    tensors: Tensors,
    epoch: int,
) -> dict[str, float]:
    """Take the steps of an epoch; raise DivergenceError if it ends in anything not finite.

    Returns
    -------
    dict
        Means over the steps of what a regulariser reports beside the loss.
    """
    settings, data = spec.training, tensors.splits["train"]
    device = data.images.device
    # Everything random in an epoch follows from the seed and its number: a resumed run and an
    # undisturbed one draw the same, and so do all objectives.
    seed = derive_seed("epoch", spec.seed, epoch)
    torch.manual_seed(seed)
    order = torch.randperm(len(data.labels)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    regulariser = build_regulariser(spec.objective)
    # Of its own, or a regularised run would draw other images than a plain one.
    probes = torch.Generator(device).manual_seed(derive_seed("regulariser", spec.seed, epoch))
    steps = math.ceil(len(order) / settings["batch_size"])
    # Nearly equal batches: batch norm fails on a last batch of one.
    batches = order.tensor_split(steps)
    found = []
    model.train()
    size = settings["batch_size"]
    with advise(f"out of memory on {device} with training.batch_size {size}: lower it"):
        for step, batch in enumerate(batches):
            images = augment(data.images[batch], settings["augmentation"], generator, tensors.black)
            labels, reduction = data.labels[batch], settings["reduction"]
            optimizer.zero_grad()
            if regulariser:
                at = epoch * steps + step
                found.append(regulariser(model, loss, images, labels, reduction, probes, at))
            else:
                total = getattr(loss(forward(images), labels), reduction)()
                total.backward()
                found.append({"loss": total.detach()})
            if settings["clip_norm"] is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
            optimizer.step(learning_rate(settings, epoch, step, steps))
    # Checked once an epoch: a look at every step would make a GPU wait for it.
    reports = {key: torch.stack([step[key] for step in found]) for key in found[0]}
    require_finite_step(reports.pop("loss").tolist(), model.state_dict(), spec.objective, epoch)
    # A step without a penalty reports NaN.
    return {key: float(values.nanmean()) for key, values in reports.items()}


def require_finite_step(
    losses: Sequence[float], weights: Mapping[str, Tensor], objective: Objective, epoch: int
) -> None:
    """Raise DivergenceError if a loss of an epoch's steps, or a weight after it, is not finite."""
    remedy = "lower training.learning_rate or set training.clip_norm"
    if objective.regulariser:
        remedy = f"lower regularisers.{objective.regulariser.name}, or {remedy}"
    for step, value in enumerate(losses):
        if not math.isfinite(value):
            raise DivergenceError(
                f"loss {value} in epoch {epoch + 1}, step {step + 1} of {len(losses)}: {remedy}"
            )
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise DivergenceError(
                f"{name} is not finite after epoch {epoch + 1}, last loss {losses[-1]:.6g}: "
                f"{remedy}"
            )


def _logits(model: nn.Module, tensors: Tensors, name: str) -> Tensor:
    """Return a split's logits (N, K)."""
    images = tensors.splits[name].images
    with advise(
        f"out of memory on {images.device} while evaluating {CHUNK} images at a time: "
        "make the model smaller (models.<name>.arguments) or set device to cpu"
    ):
        return logits_of(model, images)


def require_finite_logits(logits: Tensor, name: str, done: int) -> None:
    """Raise DivergenceError if any of a split's logits is not finite."""
    if not logits.isfinite().all():
        raise DivergenceError(
            f"logits of the {name} split are not finite after epoch {done}: "
            "lower training.learning_rate or set training.clip_norm"
        )


def history_row(
    logits: Mapping[str, Tensor], loss: nn.Module, tensors: Tensors, bins: int, done: int
) -> dict[str, float]:
    """Score logits (N, K) by split; raise DivergenceError if any is not finite."""
    row: dict[str, float] = {"epoch": done}
    for name, values in logits.items():
        require_finite_logits(values, name, done)
        found = scores(values, tensors.splits[name].labels, loss, bins)
        row |= {f"{name}_{key}": value for key, value in found.items()}
    return row


def outcome_of(
    reason: str | None,
    weights: dict[str, Tensor],
    history: list[dict[str, float]],
    logits: Mapping[str, Tensor],
    tensors: Tensors,
    parameters: int,
    start: int,
) -> Outcome:
    """Gather what a run came to; a reason means that it diverged."""
    arrays = {name: values.cpu().numpy() for name, values in logits.items()}
    if reason is not None:
        arrays = {name: np.empty((0, tensors.classes), np.float32) for name in tensors.splits}
    status = "completed" if reason is None else "diverged"
    return Outcome(status, reason, weights, history, arrays, parameters, start)


def brief(done: int, history: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """Word how far training is, and its history's last row, which may be of an earlier epoch."""
    text = f"epoch {done} of {settings['epochs']}"
    if not history:
        return text
    row = history[-1]
    earlier = "" if row["epoch"] == done else f", scores of epoch {row['epoch']:.0f}"
    return (
        f"{text}{earlier}: loss {row['train_loss']:.4g}, "
        f"validation accuracy {row['validation_accuracy']:.4f}, ECE {row['validation_ece']:.4f}"
    )
