"""The residual's trace, from probes that are independent between samples.

Hutchinson's v'Rv with one v for all samples has a variance of 2 |R|^2 (but for the diagonal), of
which most comes from off-diagonal blocks, and which no number of samples makes smaller. The trace
of a mean over samples is the mean of their traces, though: tr R = mean_n E v_n' R_n v_n, with signs
v_n drawn anew for every sample, so that errors average out over samples. R_n is linear in the slope
of the sample's loss in the outputs; samples are drawn in proportion to its norm (importance
sampling), which leaves out the many that a fitted network is sure of.

They are drawn systematically, at equal distances on the sum of the norms, so that a sample is drawn
as often as it is expected to, but for one. The variance is that of differences between draws that
follow each other: those of one sample, or of neighbours.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.utils._pytree import tree_map, tree_map_only

from . import dense, samples
from .adaptive import adaptive
from .prepare import neutral, refuse
from .problem import Problem
from .results import Scalar

LARGEST = 2**25  # numbers in the probes of one pass: 128 MB in float32
PILOT = 128  # draws
MOST_ROWS = 1024  # of a batch of draws, where they are passed through dense layers


@neutral()
def draws(
    problem: Problem,
    generator: torch.Generator,
    *,
    budget: int,
    relative_error: float,
    offset: float,
) -> tuple[Tensor, int]:
    """Draw unbiased values of the residual's trace.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    generator : torch.Generator
        Of draws and probes.
    budget : int
        Most draws, in multiples of the samples.
    relative_error : float
        Requested standard error of the sum with ``offset`` over its absolute value.
    offset : float
        What the trace is added to.

    Returns
    -------
    values : Tensor
        (draws, L) float64, by parameter tensor, in the order of the samples.
    products : int
        Passes through as many samples as there are.

    Raises
    ------
    UnsupportedError
        If `torch.func.vmap` cannot take the network.
    """
    count = problem.samples.count
    with torch.no_grad():
        norms = torch.cat([_slopes(problem, x, y)[w > 0].flatten(1).norm(dim=1)
                           for x, y, w in problem.batches()]).double()  # fmt: skip
    if not norms.sum() > 0:
        return torch.zeros(2, len(problem.names), dtype=torch.float64, device=norms.device), 1
    shares = norms / norms.sum()

    def draw(n: int) -> Tensor:
        start = torch.rand((), generator=generator, device=shares.device, dtype=torch.float64)
        ends = (shares.cumsum(0) * n + start).floor()
        ends[-1] = n  # whatever rounding makes of a sum of one
        times = ends.diff(prepend=ends.new_zeros(1)).long()
        return (
            _forms(problem, generator, times) / (count * shares.repeat_interleave(times))[:, None]
        )

    values = adaptive(
        draw, budget=budget * count, relative_error=relative_error, offset=offset,
        pilot=min(PILOT, budget * count), variance=_variance,
    )  # fmt: skip
    return values, 1 + math.ceil(len(values) / count)


def mean_of(values: Tensor, products: int, relative_error: float) -> Scalar:
    """Average draws (n,), with the standard error of what follows each other in them."""
    mean, stderr = float(values.mean()), math.sqrt(float(_variance(values)) / len(values))
    met = stderr <= relative_error * abs(mean)
    return Scalar(mean, stderr, (), products, met, "importance sampling")


def _variance(values: Tensor) -> Tensor:
    return values.diff().square().mean() / 2


def _slopes(problem: Problem, x: Any, y: Any) -> Tensor:
    """Slopes (n, ...) of each sample's loss in its outputs."""
    outputs = problem.outputs(problem.parameters, x)
    with torch.enable_grad():
        return grad(lambda z: _sum(problem.losses(z, y), len(z)))(outputs)


def _sum(losses: Tensor, n: int) -> Tensor:
    return losses.sum() if losses.ndim else losses * n


def _forms(problem: Problem, generator: torch.Generator, times: Tensor) -> Tensor:
    """v'R_n v by parameter tensor (sum of times, L), for each sample as often as times (N,) say."""
    parameters = problem.parameters
    places = tuple(range(len(parameters)))

    def forms(x: Any, slope: Tensor, signs: Tensor) -> Tensor:
        def weighted(*p: Tensor) -> Tensor:
            one = tree_map_only(Tensor, lambda t: t[None], x)
            return (problem.outputs(p, one)[0] * slope).sum()

        v = problem.split(signs)
        bent = jvp(grad(weighted, argnums=places), parameters, v)[1]
        return torch.stack([(a * b).sum() for a, b in zip(v, bent, strict=True)])

    is_dense = dense.applies(problem)
    size = MOST_ROWS if is_dense else max(1, min(problem.batch, LARGEST // problem.size))
    rows, start = [], 0
    for x, y, w in problem.batches():
        n = int((w > 0).sum())
        index = torch.arange(n, device=times.device).repeat_interleave(times[start : start + n])
        start += n
        if not len(index):
            continue
        with torch.no_grad():
            slopes = _slopes(problem, x, y)
        for part in index.split(size):
            inputs = samples.rows(x, part)
            if is_dense:
                rows.append(dense.forms(problem, generator, inputs, slopes[part]))
                continue
            bits = torch.randint(
                2, (len(part), problem.size), generator=generator, device=problem.device
            )
            axes = tree_map(lambda t: 0 if isinstance(t, Tensor) else None, inputs)
            with torch.no_grad(), refuse("no second derivatives by sample"):
                rows.append(
                    vmap(forms, (axes, 0, 0))(
                        inputs, slopes[part], (2 * bits - 1).to(problem.dtype)
                    ).double()
                )
    return torch.cat(rows)
