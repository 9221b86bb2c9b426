"""A closer look at one set of weights: its spectrum, and the loss around it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import engine, pyhessian_adapter
from .density import density
from .lanczos import lanczos
from .landscape import losses_along, random_direction
from .operators import Operator, normal
from .problem import Problem
from .settings import Settings

Rows = list[dict[str, Any]]


def spectrum(problem: Problem, seed: int, *, probes: int, steps: int) -> Rows:
    """Return the quadrature of the Hessian's spectral density, a row per probe and node.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    seed : int
        Of the probes.
    probes, steps : int
        Independent Lanczos runs and their length; see `density`.

    Returns
    -------
    list of dict
        ``probe``, ``eigenvalue`` (nats), ``weight`` (share of the spectrum, summing to one per
        probe).
    """
    generator = torch.Generator(problem.inputs.device).manual_seed(seed)
    found = density(Operator(problem), generator, probes=probes, steps=steps)
    return [
        {"probe": probe, "eigenvalue": eigenvalue, "weight": weight}
        for probe, (nodes, weights) in enumerate(
            zip(found.nodes.tolist(), found.weights.tolist(), strict=True)
        )
        for eigenvalue, weight in zip(nodes, weights, strict=True)
    ]


def surroundings(
    problems: Mapping[str, Problem], seed: int, *, reach: float, resolution: int, surface: bool
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
    reach : float
        Largest relative distance from the weights.
    resolution : int
        Steps along a direction of the plane; a line has twice as many and one.
    surface : bool
        Whether the plane of two random directions is wanted too.

    Returns
    -------
    lines : list of dict
        ``hessian_of`` (the loss), ``direction``, ``step``, ``loss`` (nats).
    plane : list of dict
        ``hessian_of``, ``x``, ``y``, ``loss``; empty unless wanted.
    """
    first = next(iter(problems.values()))
    generator = torch.Generator(first.inputs.device).manual_seed(seed)
    start = normal(first, generator)
    one, two = (random_direction(first, generator) for _ in range(2))
    top = lanczos(Operator(first), start, tolerance=1e-2).vectors[0]
    directions = {"top eigenvector": top * one.norm(), "random": one}
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
    found = losses_along([*problems.values()], [one, two], [steps, steps])
    plane = [
        {"hessian_of": name, "x": x, "y": y, "loss": loss}
        for name, losses in zip(problems, found.tolist(), strict=True)
        for x, row in zip(steps.tolist(), losses, strict=True)
        for y, loss in zip(steps.tolist(), row, strict=True)
    ]
    return lines, plane


def compare(
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Hold the engine against PyHessian on one problem, one after the other in this process.

    Parameters are those of `estimate`; ``settings`` apply to both, but for the estimator's name.

    Returns
    -------
    dict
        For each estimator its seconds, top eigenvalue with residual, and trace with standard
        error; and how many of PyHessian's standard errors the two traces are apart.
    """
    row, traces = {}, []
    # Called by themselves: PyHessian's time is without the engine's pass beside it.
    for name, run in (("pyhessian", pyhessian_adapter.estimate), ("engine", engine.estimate)):
        started = time.perf_counter()
        found = run(model, loss, inputs, labels, Settings.of(settings), seed)
        row |= {
            f"{name}_seconds": time.perf_counter() - started,
            f"{name}_top_eigenvalue": found.top_eigenvalue.estimate,
            f"{name}_residual": found.top_eigenvalue.residual,
            f"{name}_trace": found.trace.estimate,
            f"{name}_trace_stderr": found.trace.stderr,
        }
        traces.append(found.trace)
    reference, ours = traces
    apart = (ours.estimate - reference.estimate) / np.hypot(reference.stderr, ours.stderr)
    return row | {"trace_difference_in_stderr": float(apart)}
