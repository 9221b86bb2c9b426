"""Curvature along training, by the engine, on a fixed sample set in evaluation mode."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from focal_curvature.settings.estimate import Estimate

from .memory import estimate_within_memory, within_memory
from .operators import Operator
from .prepare import UnsupportedError
from .problem import Problem
from .settings import Settings
from .trace import gauss_newton_trace, residual_traces

logger = logging.getLogger(__name__)

# Of `sharpness`, for the name of a loss: each number, and whether it is as exact as was asked.
COLUMNS = tuple(
    f"{measure}_{{}}{flag}"
    for measure in ("top_eigenvalue", "trace", "top_eigenvalue_gauss_newton", "trace_gauss_newton")
    for flag in ("", "_converged")
)


def traces(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, seed: int
) -> dict[str, float]:
    """Return the traces of the Hessian and of the Gauss-Newton matrix of the mean loss.

    Both are exact where the network is piecewise linear in each parameter tensor and has at most
    50 classes, and then they are equal; else to a standard error of 1%, or as far as 50 probes go.

    Parameters
    ----------
    model, loss, inputs, labels, seed
        As for `focal_curvature.curvature.estimate`.

    Returns
    -------
    dict
        ``trace_hessian`` and ``trace_gauss_newton`` in nats; NaN where a derivative is not finite,
        or cannot be computed.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single sample at a time.
    """
    settings = Settings(estimator="engine", check=False)
    limits: dict[str, Any] = {"budget": settings.probes, "relative_error": settings.relative_error}

    def attempt(chunk: int) -> dict[str, float]:
        generator = torch.Generator(inputs.device).manual_seed(seed)
        known = hessian = math.nan
        try:
            problem = Problem.of(
                model,
                loss,
                (inputs, labels),
                batch=settings.batch,
                chunk=chunk,
                check=settings.check,
            )
            known = float(gauss_newton_trace(problem, generator, **limits).layers.sum(1).mean())
            residual = Operator.on(problem, "residual", check=settings.check)
            hessian = known + residual_traces(residual, generator, known, **limits)[0].estimate
        except (FloatingPointError, UnsupportedError) as error:
            logger.error("traces: %s", error)
        return {"trace_hessian": hessian, "trace_gauss_newton": known}

    return within_memory(
        attempt, settings.chunk, len(inputs), inputs.device, "training.trace_samples"
    )[0]


def sharpness(
    model: nn.Module,
    losses: Mapping[str, nn.Module],
    inputs: Tensor,
    labels: Tensor,
    settings: Estimate,
    seed: int,
) -> dict[str, float]:
    """Return top eigenvalues and traces under several losses at the same weights.

    Parameters
    ----------
    losses : mapping
        Name -> loss; one under two names is measured once.
    model, inputs, labels, settings, seed
        As for `focal_curvature.curvature.estimate`; the estimator is the engine.

    Returns
    -------
    dict
        In nats, by name of the loss: ``top_eigenvalue_<name>`` and ``trace_<name>`` of the Hessian,
        ``top_eigenvalue_gauss_newton_<name>`` and ``trace_gauss_newton_<name>``, and beside each
        ``<column>_converged``, whether it is as exact as was asked. NaN where a derivative is not
        finite.

    Raises
    ------
    MemoryError
        As `focal_curvature.curvature.memory.estimate_within_memory`.
    """
    wanted = Settings.of(settings, estimator="engine", matrices=("hessian", "gauss_newton"))
    known: dict[nn.Module, dict[str, Any]] = {}
    row: dict[str, Any] = {}
    for name, loss in losses.items():
        if loss not in known:
            known[loss] = dict.fromkeys(COLUMNS, math.nan)
            try:
                result, _ = estimate_within_memory(model, loss, inputs, labels, wanted, seed)
                spectra = (result.hessian, result.gauss_newton)
                measured = [
                    s for each in spectra if each for s in (each.eigenvalues[0], each.trace)
                ]
                for column, scalar in zip(COLUMNS[::2], measured, strict=True):
                    known[loss][column] = scalar.estimate
                    known[loss][column + "_converged"] = scalar.converged
            except (FloatingPointError, UnsupportedError) as error:
                logger.error("%s: %s", name, error)
        row |= {column.format(name): value for column, value in known[loss].items()}
    return row
