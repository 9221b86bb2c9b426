"""All seeds of a cell trained together in one process: a step of each is one step of all.

On small images, a step of a small network is mostly the overhead of calling its operations. Here S
networks become one of S times the channels, in which convolutions and normalisations keep to their
own group and linear layers are one batched product. Each run keeps its own start, order of images
and augmentation, those of :func:`~focal_curvature.training.loop.train`, and equals it up to
rounding (which training amplifies).
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from focal_curvature.data.augment import augment
from focal_curvature.data.tensors import Tensors
from focal_curvature.memory import advise
from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.training.checkpoints import load_checkpoint, save_weights
from focal_curvature.training.evaluation import CHUNK
from focal_curvature.training.loop import (
    LOG_SECONDS,
    DivergenceError,
    Outcome,
    StoppedError,
    brief,
    build_loss,
    build_model,
    build_regulariser,
    history_row,
    outcome_of,
    require_finite_logits,
    require_finite_step,
)
from focal_curvature.training.optimizer import SGD
from focal_curvature.training.schedule import learning_rate

logger = logging.getLogger(__name__)

TRIED = 8  # images on which a stack is held against its models
TOLERANCE = 1e-3  # of the largest logit


class NotStackableError(Exception):
    """These runs cannot be trained as one; the message says why."""


class _Linears(nn.Module):
    """Linear layers side by side: inputs (N, S * I) to outputs (N, S * O)."""

    def __init__(self, layer: nn.Linear, runs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.new_empty(runs, *layer.weight.shape))
        self.bias = None
        if layer.bias is not None:
            self.bias = nn.Parameter(layer.bias.new_empty(runs, 1, layer.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each run's part of the features by its own weights."""
        own = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        weight = self.weight.transpose(1, 2)
        out = own @ weight if self.bias is None else torch.baddbmm(self.bias, own, weight)
        return out.transpose(0, 1).flatten(1)


def _widened(module: nn.Module, runs: int, made: dict[int, nn.Module]) -> nn.Module:
    """Return a module for ``runs`` times the channels; ``made`` holds what was made already."""
    if id(module) in made:
        return made[id(module)]
    some = next(itertools.chain(module.parameters(), module.buffers()), None)
    where = {} if some is None else {"device": some.device, "dtype": some.dtype}
    if type(module) is nn.Conv2d:
        wide: nn.Module = nn.Conv2d(
            runs * module.in_channels,
            runs * module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            runs * module.groups,
            module.bias is not None,
            module.padding_mode,
            **where,
        )
    elif type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
        wide = type(module)(
            runs * module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
            **where,
        )
    elif type(module) is nn.Linear:
        wide = _Linears(module, runs)
    elif module._parameters or module._buffers:
        raise NotStackableError(f"{type(module).__name__} has weights of its own")
    else:
        wide = copy.copy(module)
        wide._modules = {
            name: child and _widened(child, runs, made) for name, child in module._modules.items()
        }
    for name, parameter in module._parameters.items():
        if parameter is not None:
            wide._parameters[name].requires_grad_(parameter.requires_grad)
    made[id(module)] = wide
    return wide


class Stack:
    """Models of one architecture as one model; their weights are copied.

    Attributes
    ----------
    model : nn.Module
        Maps images (N, S * C, H, W) to logits (N, S * K): what belongs to a run is a block of the
        second dimension.
    size : int
        S, the number of models.

    Raises
    ------
    NotStackableError
        If a layer has weights and is none of Conv2d, BatchNorm1d, BatchNorm2d and Linear.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.size = len(models)
        self.model = _widened(models[0], self.size, {})
        states = [model.state_dict() for model in models]
        self._shapes = {name: value.shape for name, value in states[0].items()}
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                whole = torch.stack([state[name] for state in states])
                value.copy_(whole.view(value.shape) if value.ndim else whole[0])
        self.model.to(memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (S, N, K) of images (N, S, C, H, W)."""
        flat = images.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        return self.model(flat).unflatten(1, (self.size, -1)).transpose(0, 1)

    def state(self, run: int) -> dict[str, Tensor]:
        """Return the state of one of the models, copied to the CPU."""
        return {
            # A count of batches is one for all.
            name: (value.reshape(self.size, *self._shapes[name])[run] if value.ndim else value)
            .detach()
            .cpu()
            .clone(memory_format=torch.contiguous_format)
            for name, value in self.model.state_dict().items()
        }


def stack(models: Sequence[nn.Module], images: Tensor) -> Stack:
    """Stack models, after trying on a few images that this leaves their outputs as they are.

    Parameters
    ----------
    models : sequence of nn.Module
        They stay as they are.
    images : Tensor
        (N, C, H, W), of which a few are used.

    Raises
    ------
    NotStackableError
        If a layer is of another kind; if the model draws random numbers (dropout), mixes channels
        outside its layers (concatenation), or does anything else whose stack differs from it.
    """
    twins = copy.deepcopy(list(models))
    tried = Stack(twins)
    seen = images[:TRIED]
    # Evaluation after training mode: what the first did to running statistics counts too.
    for training in (True, False):
        for model in (tried.model, *twins):
            model.train(training)
        with torch.no_grad():
            expected = torch.stack([model(seen) for model in twins])
            try:
                found = tried(_shown_to_all(seen, tried.size))
            except Exception as error:  # whatever a layer raises that counts its channels
                line = str(error).partition("\n")[0]
                raise NotStackableError(f"its layers do not fit together ({line})") from error
        if found.shape != expected.shape or not (
            (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
        ):
            raise NotStackableError("the stack's outputs differ from the models'")
    return Stack(models)


def _shown_to_all(images: Tensor, runs: int) -> Tensor:
    return images[:, None].expand(-1, runs, -1, -1, -1)


def train_stacked(
    specs: Sequence[RunSpec],
    tensors: Tensors,
    *,
    bins: int,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
    fingerprint: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Train runs that differ in nothing but their seed, all in one.

    Parameters
    ----------
    specs : sequence of RunSpec
        At least one.
    tensors, bins, checkpoint, checkpoint_seconds, fingerprint, stop
        As for :func:`~focal_curvature.training.loop.train`; there is one checkpoint for all.

    Returns
    -------
    list of Outcome
        In the order of ``specs``. A run that diverges leaves the others alone. Bit-identical when
        repeated with the same seeds on the same machine, versions and threads, resumed or not.

    Raises
    ------
    NotStackableError
        Before the first step: if the model or the regulariser cannot be stacked, or is to be
        trained in mixed precision or compiled.
    StoppedError
        If ``stop`` said so before the last epoch.
    MemoryError
        If memory runs out; names the setting to change.
    """
    regulariser = build_regulariser(specs[0].objective)
    if regulariser and not hasattr(regulariser, "stacked"):
        raise NotStackableError("its regulariser takes one network's gradient")
    settings = specs[0].training
    if settings["precision"] != "float32" or settings["compile"]:
        raise NotStackableError("mixed precision and compilation are for one network at a time")
    cell = specs[0].folder.rpartition("/")[0]
    data = tensors.splits["train"]
    models = [build_model(spec, tensors, data.images.device) for spec in specs]
    stacked = stack(models, data.images)
    loss = build_loss(specs[0].objective)
    optimizer = SGD(stacked.model.parameters(), settings)
    histories: list[list[dict[str, float]]] = [[] for _ in specs]
    ended: dict[int, dict[str, Any]] = {}  # what became of runs that diverged, by place in `specs`
    start = 0
    saved = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if saved:
        stacked.model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        histories, ended, start = saved["histories"], saved["ended"], saved["epoch"]
        logger.info("%s: resumed after epoch %d", cell, start)

    def end(run: int, error: DivergenceError) -> None:
        logger.error("%s: diverged: %s", specs[run].folder, error)
        ended[run] = {"reason": str(error), "weights": stacked.state(run)}

    last_saved = last_logged = time.monotonic()
    for epoch in range(start, settings["epochs"]):
        done = epoch + 1
        last = done == settings["epochs"]
        reports = _train_epoch(stacked, loss, regulariser, optimizer, specs, tensors, epoch)
        losses = reports.pop("loss").tolist()
        for run in _going(specs, ended):
            try:
                require_finite_step(losses[run], stacked.state(run), specs[0].objective, epoch)
            except DivergenceError as error:
                end(run, error)
        if last or done % settings["evaluate_every"] == 0:
            logits = {name: _logits(stacked, tensors, name) for name in ("train", "validation")}
            for run in _going(specs, ended):
                try:
                    own = {name: found[run] for name, found in logits.items()}
                    row = history_row(own, loss, tensors, bins, done)
                    # A step without a penalty reports NaN.
                    row |= {key: float(values[run].nanmean()) for key, values in reports.items()}
                    histories[run].append(row)
                except DivergenceError as error:
                    end(run, error)
        if len(ended) == len(specs):
            break
        now = time.monotonic()
        if last or now - last_logged > LOG_SECONDS:
            last_logged = now
            for run in _going(specs, ended):
                words = brief(done, histories[run], settings)
                logger.info("%s: %s", specs[run].folder, words)
        stopping = not last and stop()
        if checkpoint and not last and (stopping or now - last_saved > checkpoint_seconds):
            last_saved = now
            content = {
                "fingerprint": fingerprint,
                "epoch": done,
                "model": stacked.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "histories": histories,
                "ended": ended,
            }
            save_weights(checkpoint, content)
        if stopping:
            raise StoppedError(
                f"{cell}: stopped after epoch {done} of {settings['epochs']}: "
                "the same command goes on from there"
            )
    found: list[dict[str, Tensor]] = [{} for _ in specs]
    if len(ended) < len(specs):
        logits = {name: _logits(stacked, tensors, name) for name in tensors.splits}
        for run in _going(specs, ended):
            own = {name: values[run] for name, values in logits.items()}
            try:
                for name, values in own.items():
                    require_finite_logits(values, name, settings["epochs"])
            except DivergenceError as error:
                end(run, error)
            else:
                found[run] = own
    parameters = sum(p.numel() for p in models[0].parameters() if p.requires_grad)
    outcomes = []
    for run, history in enumerate(histories):
        final = ended.get(run) or {"reason": None, "weights": stacked.state(run)}
        rest = (history, found[run], tensors, parameters, start)
        outcomes.append(outcome_of(final["reason"], final["weights"], *rest))
    return outcomes


def _going(specs: Sequence[RunSpec], ended: dict[int, Any]) -> list[int]:
    return [run for run in range(len(specs)) if run not in ended]


def _train_epoch(
    stacked: Stack,
    loss: nn.Module,
    regulariser: Callable[..., dict[str, Tensor]] | None,
    optimizer: SGD,
    specs: Sequence[RunSpec],
    tensors: Tensors,
    epoch: int,
) -> dict[str, Tensor]:
    """Take the steps of an epoch; return losses, and what a regulariser reports, (runs, steps)."""
    settings, data = specs[0].training, tensors.splits["train"]
    device = data.images.device
    orders, generators, probes = [], [], []
    # The draws of the plain loop: a seed's own, whichever runs are beside it.
    for spec in specs:
        seed = derive_seed("epoch", spec.seed, epoch)
        torch.manual_seed(seed)
        orders.append(torch.randperm(len(data.labels)))
        generators.append(torch.Generator(device).manual_seed(seed))
        seed = derive_seed("regulariser", spec.seed, epoch)
        probes.append(torch.Generator(device).manual_seed(seed))
    order = torch.stack(orders, dim=1).to(device)
    steps = math.ceil(len(order) / settings["batch_size"])
    found = []
    stacked.model.train()
    advice = (
        f"out of memory on {device} with training.batch_size {settings['batch_size']} and "
        f"{len(specs)} seeds at once: lower it or set training.stacked to false"
    )
    with advise(advice):
        for step, batch in enumerate(order.tensor_split(steps)):
            shown = [
                augment(data.images[own], settings["augmentation"], generator, tensors.black)
                for own, generator in zip(batch.T, generators, strict=True)
            ]
            images, labels = torch.stack(shown, dim=1), data.labels[batch.T]
            reduction = settings["reduction"]
            optimizer.zero_grad()
            if regulariser:
                at = epoch * steps + step
                rest = (loss, images, labels, reduction, probes, at)
                found.append(regulariser.stacked(stacked, stacked.model, *rest))
            else:
                sample_losses = loss(stacked(images).flatten(0, 1), labels.flatten())
                totals = getattr(sample_losses.view(len(specs), -1), reduction)(dim=1)
                totals.sum().backward()  # a run's loss moves its own weights alone
                found.append({"loss": totals.detach()})
            if settings["clip_norm"] is not None:
                _clip(stacked, settings["clip_norm"])
            optimizer.step(learning_rate(settings, epoch, step, steps))
    return {key: torch.stack([step[key] for step in found], dim=1) for key in found[0]}


def _clip(stacked: Stack, most: float) -> None:
    """Bound each run's gradient norm, as ``nn.utils.clip_grad_norm_`` bounds one run's."""
    gradients = [p.grad for p in stacked.model.parameters() if p.grad is not None]
    norms = [g.reshape(stacked.size, -1).norm(dim=1) for g in gradients]
    factors = (most / (torch.stack(norms).norm(dim=0) + 1e-6)).clamp(max=1)
    for gradient in gradients:
        own = gradient.unflatten(0, (stacked.size, -1))
        own.mul_(factors.view(-1, *[1] * (own.ndim - 1)))


def _logits(stacked: Stack, tensors: Tensors, name: str) -> Tensor:
    """Return a split's logits (S, N, K) in evaluation mode."""
    images = tensors.splits[name].images
    stacked.model.eval()
    chunk = max(1, CHUNK // stacked.size)
    advice = (
        f"out of memory on {images.device} while evaluating {chunk} images of {stacked.size} seeds "
        "at a time: set training.stacked to false"
    )
    with advise(advice), torch.no_grad():
        parts = images.split(chunk)
        return torch.cat([stacked(_shown_to_all(part, stacked.size)) for part in parts], dim=1)
