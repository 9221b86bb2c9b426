"""A closer look at one set of weights: its spectrum, and the loss around it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focal_curvature.settings.estimate import Estimate

from . import engine
from .density import density
from .lanczos import lanczos
from .landscape import losses_along, random_direction
from .memory import within_memory
from .operators import Operator
from .prepare import UnsupportedError
from .problem import Problem
from .settings import Settings

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


def look(
    model: nn.Module,
    losses: Mapping[str, nn.Module],
    inputs: Tensor,
    labels: Tensor,
    settings: Estimate,
    seed: int,
    *,
    probes: int,
    steps: int,
    reach: float,
    resolution: int,
    surface: bool,
) -> dict[str, Rows]:
    """Return all of this module's tables for one set of weights, in half the chunk if memory ends.

    Parameters
    ----------
    losses : mapping
        Name -> loss; one under two names is measured once. The estimators are compared under the
        first.
    model, inputs, labels, settings, seed
        As for `focal_curvature.curvature.estimate`.
    probes, steps, reach, resolution, surface
        As for `spectrum` and `surroundings`.

    Returns
    -------
    dict
        ``spectrum`` (with ``hessian_of``, the loss), ``lines``, ``plane`` and ``estimators``; all
        empty for a network whose curvature cannot be computed.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single sample at a time.
    """

    def attempt(chunk: int) -> dict[str, Rows]:
        used = Settings.of(settings, chunk=chunk)
        try:
            made = {
                loss: engine.problem_of(model, loss, inputs, labels, used)
                for loss in dict.fromkeys(losses.values())
            }
        except UnsupportedError as error:
            logger.error("no closer look: %s", error)
            return {"spectrum": [], "lines": [], "plane": [], "estimators": []}
        spectra = {
            loss: spectrum(problem, seed, probes=probes, steps=steps, check=used.check)
            for loss, problem in made.items()
        }
        first = next(iter(made))
        lines, plane = surroundings(
            {name: made[loss] for name, loss in losses.items()},
            seed,
            tolerance=used.tolerance,
            reach=reach,
            resolution=resolution,
            surface=surface,
            check=used.check,
        )
        return {
            "spectrum": [
                {"hessian_of": name} | row for name, loss in losses.items() for row in spectra[loss]
            ],
            "lines": lines,
            "plane": plane,
            "estimators": [compare(model, first, inputs, labels, used, seed)],
        }

    return within_memory(attempt, settings.chunk, len(inputs), inputs.device)[0]


def spectrum(problem: Problem, seed: int, *, probes: int, steps: int, check: bool = True) -> Rows:
    """Return the quadrature of the Hessian's spectral density, a row per probe and node.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    seed : int
        Of the probes.
    probes, steps : int
        Independent Lanczos runs and their length; see `density`.
    check : bool
        As for `Operator`.

    Returns
    -------
    list of dict
        ``probe``, ``eigenvalue`` (nats), ``weight`` (share of the spectrum, summing to one per
        probe). Empty where the Hessian is not finite.
    """
    generator = torch.Generator(problem.device).manual_seed(seed)
    try:
        operator = Operator.on(problem, check=check)
        quadrature = density(operator, generator, probes=probes, steps=steps)
    except (FloatingPointError, UnsupportedError) as error:
        logger.error("no spectrum: %s", error)
        return []
    return [
        {"probe": probe, "eigenvalue": eigenvalue, "weight": weight}
        for probe, (nodes, weights) in enumerate(
            zip(quadrature.nodes.tolist(), quadrature.weights.tolist(), strict=True)
        )
        for eigenvalue, weight in zip(nodes, weights, strict=True)
    ]


def surroundings(
    problems: Mapping[str, Problem],
    seed: int,
    *,
    tolerance: float,
    reach: float,
    resolution: int,
    surface: bool,
    check: bool = True,
) -> tuple[Rows, Rows]:
    """Return the losses along lines, and on a plane, through the same weights.

    All directions are as long as a filter-normalised random one (Li et al. 2018, arXiv
    1712.09913), which is as long as the network's weights: steps are relative distances.

    Parameters
    ----------
    problems : mapping
        Name of a loss -> problem; all share network and samples. The first one's top eigenvector
        is one of the lines.
    seed : int
        Of the random directions: the same draw for the same network, before normalisation.
    tolerance : float
        Relative residual of the top eigenvector.
    reach : float
        Largest relative distance from the weights.
    resolution : int
        Steps along a direction of the plane; a line has twice as many and one.
    surface : bool
        Whether the plane of two random directions is wanted too.
    check : bool
        As for `Operator`.

    Returns
    -------
    lines : list of dict
        ``hessian_of`` (the loss), ``direction``, ``step``, ``loss`` (nats). Along the random
        direction alone where the Hessian is not finite, or cannot be computed.
    plane : list of dict
        ``hessian_of``, ``x``, ``y``, ``loss``; empty unless wanted.
    """
    first = next(iter(problems.values()))
    generator = torch.Generator(first.device).manual_seed(seed)
    # Drawn before the operator, whose making may fail, so that the directions are always the same.
    start = torch.randn(first.size, generator=generator, dtype=first.dtype, device=first.device)
    one, two = (random_direction(first, generator) for _ in range(2))
    directions = {}
    try:
        operator = Operator.on(first, check=check)
        top = lanczos(operator, start, tolerance=tolerance).vectors[0]
        directions["top eigenvector"] = top * one.norm()
    except (FloatingPointError, UnsupportedError) as error:
        logger.error("no line along the top eigenvector: %s", error)
    directions["random"] = one
    steps, fine = (np.linspace(-reach, reach, n) for n in (resolution, 2 * resolution + 1))
    lines = [
        {"hessian_of": name, "direction": direction, "step": step, "loss": loss}
        for direction, vector in directions.items()
        for name, losses in zip(
            problems, losses_along([*problems.values()], [vector], [fine]).tolist(), strict=True
        )
        for step, loss in zip(fine.tolist(), losses, strict=True)
    ]
    if not surface:
        return lines, []
    grids = losses_along([*problems.values()], [one, two], [steps, steps])
    plane = [
        {"hessian_of": name, "x": x, "y": y, "loss": loss}
        for name, losses in zip(problems, grids.tolist(), strict=True)
        for x, row in zip(steps.tolist(), losses, strict=True)
        for y, loss in zip(steps.tolist(), row, strict=True)
    ]
    return lines, plane


def compare(
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings,
    seed: int,
) -> dict[str, Any]:
    """Hold the engine against PyHessian on one problem, one after the other in this process.

    Parameters are those of `estimate`; ``settings`` apply to both, but for the estimator's name.

    Returns
    -------
    dict
        For each estimator its seconds, top eigenvalue with residual, and trace with standard
        error, NaN where the Hessian is not finite; and how many of PyHessian's standard errors the
        two traces are apart.
    """
    from . import pyhessian_adapter  # so that all else here does without PyHessian

    row: dict[str, Any] = {}
    # Called by themselves: PyHessian's time is without the engine's pass beside it.
    for name, run in (("pyhessian", pyhessian_adapter.estimate), ("engine", engine.estimate)):
        started = time.perf_counter()
        numbers = [math.nan] * 4
        try:
            result = run(model, loss, inputs, labels, settings, seed)
            eigenvalue, trace = result.top_eigenvalue, result.trace
            numbers = [eigenvalue.estimate, eigenvalue.residual, trace.estimate, trace.stderr]
        except (FloatingPointError, UnsupportedError) as error:
            logger.error("%s: %s", name, error)
        parts = ("top_eigenvalue", "residual", "trace", "trace_stderr")
        row[f"{name}_seconds"] = time.perf_counter() - started
        row |= {f"{name}_{part}": n for part, n in zip(parts, numbers, strict=True)}
    stderr = np.hypot(row["pyhessian_trace_stderr"], row["engine_trace_stderr"])
    apart = (row["engine_trace"] - row["pyhessian_trace"]) / stderr
    return row | {"trace_difference_in_stderr": float(apart)}
