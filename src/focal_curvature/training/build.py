"""What a run is made of, from its specification: model, loss, regulariser, forward pass."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from focal_curvature.compilation import advised_not_to_compile, compiled
from focal_curvature.data.tensors import Tensors
from focal_curvature.kernels import safe_convolutions
from focal_curvature.memory import advise, out_of_memory
from focal_curvature.registry import resolve
from focal_curvature.runs import Objective, Regulariser, RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.stack import Stack

logger = logging.getLogger(__name__)


def build_model(spec: RunSpec, tensors: Tensors, device: torch.device) -> nn.Module:
    """Build a run's model with its initial weights.

    The weights depend on the model and the seed, not on the objective: objectives are compared
    from the same start.

    Raises
    ------
    ValueError
        If the factory takes other arguments or fails on those in the configuration, or what it
        returns cannot be trained in float32.
    MemoryError
        If memory runs out.
    """
    factory, arguments = resolve(spec.model_factory), spec.model_arguments
    place = f"models.{spec.model}.arguments"
    given = (tensors.classes, tensors.channels, tensors.size)
    try:
        inspect.signature(factory).bind(*given, **arguments)
    except TypeError as error:
        taken = ", ".join(["classes", "channels", "size", *arguments])
        raise ValueError(f"models.{spec.model}: is called with {taken}: {error}") from error
    with (
        advise(f"out of memory while building {spec.model}: make it smaller ({place})"),
        torch.random.fork_rng(),
    ):
        torch.manual_seed(derive_seed("weights", spec.model_factory, arguments, spec.seed))
        with blaming_arguments(spec):
            model = factory(*given, **arguments)
        _require_trainable(model, f"models.{spec.model}")
        if names := safe_convolutions(model):
            layers = ", ".join(names)
            logger.info("%s: strides taken before the 1 x 1 convolution in %s", spec.model, layers)
        return model.to(device)


@contextmanager
def blaming_arguments(spec: RunSpec) -> Iterator[None]:
    """Replace what the body raises by a line that names the model's arguments, where it has any.

    Raises
    ------
    ValueError
        If the body raises, but for want of memory.
    """
    try:
        yield
    except Exception as error:  # whatever a layer raises that is given another type or size
        if out_of_memory(error) or not spec.model_arguments:
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"models.{spec.model}.arguments: {spec.model_arguments} give no model: {reason}"
        ) from error


def _require_trainable(model: object, name: str) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}: a {type(model).__name__} is no nn.Module")
    parameters = dict(model.named_parameters())
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in parameters.values()):
        raise ValueError(f"{name}: has lazy layers: give their sizes")
    if not any(p.requires_grad for p in parameters.values()):
        raise ValueError(f"{name}: no parameter requires a gradient")
    for key, p in parameters.items():
        if p.requires_grad and p.dtype != (needed := torch.get_default_dtype()):
            raise ValueError(f"{name}: {key} is {p.dtype}: {needed} is needed")


def build_loss(
    objective: Objective,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Build an objective's per-sample loss, with what it holds, such as weights of classes."""
    loss = _build("objectives", objective)
    if isinstance(loss, nn.Module):
        loss = loss.to(device, dtype or torch.get_default_dtype())
    return loss


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
    networks: Stack, spec: RunSpec, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return a training step's forward pass: images (N, S, ...) to logits (S, N, K), their dtype.

    As ``training.precision`` and ``training.compile`` say; the model itself stays plain, for
    evaluation, checkpoints, regularised steps and what is measured. Weights, gradients of weights,
    running statistics and the loss stay in float32.

    Raises
    ------
    ValueError
        If all steps are regularised, which are neither mixed nor compiled; at the first call, if
        this machine cannot compile.
    """
    settings = spec.training
    mixed = settings.precision == "bfloat16"
    if not mixed and not settings.compile:
        return networks
    added = spec.objective.regulariser
    if added and added.every == 1:
        raise ValueError(
            f"regularisers.{added.name}: needs every: 2 or more, or training.precision: float32 "
            "and training.compile: false"
        )
    model = networks.model
    if settings.compile:
        model = compiled(model)

    def forward(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            return networks(images, model).to(images.dtype)

    return advised_not_to_compile(forward) if settings.compile else forward
