"""Loss along directions through a set of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .prepare import neutral
from .problem import Problem


@neutral()
def losses_along(
    problems: Sequence[Problem], directions: Sequence[Tensor], steps: Sequence[np.ndarray]
) -> np.ndarray:
    """Mean losses at theta + sum_i s_i d_i for every combination of steps.

    Parameters
    ----------
    problems : sequence of Problem
        That differ in the loss alone: all losses are of the same outputs.
    directions : sequence of Tensor
        One (P,) for a curve, two for a surface.
    steps : sequence of ndarray
        One (S_i,) per direction: multiples of it.

    Returns
    -------
    ndarray
        Losses (L, S_1) or (L, S_1, S_2) of L problems, float64.
    """
    problem = problems[0]
    theta = torch.cat([p.flatten() for p in problem.parameters])
    losses = np.zeros([len(problems), *(len(s) for s in steps)])
    with torch.no_grad():
        for index in np.ndindex(losses.shape[1:]):
            moves = zip(directions, steps, index, strict=True)
            moved = theta + sum(float(s[i]) * d for d, s, i in moves)
            parameters = problem.split(moved)
            for x, y, w in problem.batches():
                outputs = problem.outputs(parameters, x)
                losses[:, *index] += [float(p.total(outputs, y, w)) for p in problems]
    return losses


def random_direction(problem: Problem, generator: torch.Generator) -> Tensor:
    """Draw a filter-normalised direction (P,) (Li et al. 2018, arXiv 1712.09913, section 4).

    Each filter (row of a weight tensor) has the length of the network's own, so that networks of
    unlike weight scales can be held side by side; biases and batch-norm parameters stay put.
    """
    parts = []
    normal = torch.randn(
        problem.size, generator=generator, dtype=problem.dtype, device=problem.device
    )
    for p, d in zip(problem.parameters, problem.split(normal), strict=True):
        if p.ndim < 2:
            parts.append(torch.zeros_like(p).flatten())
        else:
            rows, filters = d.flatten(1), p.flatten(1)
            lengths = filters.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True)
            parts.append((rows * lengths).flatten())
    return torch.cat(parts)
