"""Curvature of the loss surface at a set of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from focal_curvature.kernels import IMAGES, require_native_gradient

from .prepare import frozen_copy
from .results import CurvatureResult, Eigenvalue, Scalar
from .settings import Settings

__all__ = ["CurvatureResult", "Eigenvalue", "Scalar", "Settings", "estimate"]


def estimate(
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Mapping[str, Any],
    seed: int,
) -> CurvatureResult:
    """Curvature of the mean loss over a fixed sample set.

    PyHessian knows the Hessian alone: the trace of the Gauss-Newton matrix and the adaptive
    sharpness beside it are the engine's, as the result says.

    Parameters
    ----------
    model
        Classifier (N, C, H, W) -> (N, K). A copy in evaluation mode is used (batch norm on its
        running statistics, dropout off); the caller's mode and gradients stay as they were.
    loss
        Module (logits (N, K), labels (N,)) -> per-sample losses (N,).
    inputs, labels
        (N, C, H, W) floating and (N,) int64; their device is where the work is done.
    settings
        Plain mapping of `Settings` fields; what is left out has its default.
    seed
        Of the probes.

    Raises
    ------
    ValueError
        For settings out of range, unknown keys, or a device that the estimator can't use.
    FloatingPointError
        For a non-finite gradient or product; names the first layer affected.
    KernelError
        If a convolution's gradient is wrong on this machine, or the gradient's is.
    """
    checked = Settings.of(settings)
    if inputs.device.type == "cpu":
        _compare_kernels(model, loss, inputs[:IMAGES], labels[:IMAGES], checked)
    # Imported here so that the engine does not need PyHessian.
    from . import engine

    if checked.estimator == "engine":
        return engine.estimate(model, loss, inputs, labels, checked, seed)
    from .pyhessian_adapter import estimate as by_pyhessian

    result = by_pyhessian(model, loss, inputs, labels, checked, seed)
    return engine.with_gauss_newton(result, model, loss, inputs, labels, checked)


def _compare_kernels(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings
) -> None:
    dtype = getattr(torch, settings.dtype)
    twin, inputs = frozen_copy(model, dtype, inputs.device), inputs.to(dtype)
    if inputs.ndim == 4 and settings.estimator == "engine":
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    require_native_gradient(twin, lambda: loss(twin(inputs), labels).mean(), second=True)
