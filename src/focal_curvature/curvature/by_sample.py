"""The residual's trace, from probes that are independent between samples.

Hutchinson's v'Rv with one v for all samples has a variance of 2 |R|^2 (but for the diagonal), of
which most comes from off-diagonal blocks, and which no number of samples makes smaller. The trace
of a mean over samples is the mean of their traces, though: tr R = mean_n E v_n' R_n v_n, with signs
v_n drawn anew for every sample, so that errors average out over samples.

Every sample is drawn for. How often is decided by strata, samples of one batch whose losses have
slopes of like size (R_n is linear in them), as the spread within their samples asks: Neyman's
allocation. Samples that a fitted network is sure of are drawn for twice, and no more. The standard
error is that of a stratified mean, from the spread of each sample's own draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from . import samples
from .prepare import neutral
from .probes import Probes
from .problem import Problem
from .results import Scalar

PILOT = 512  # draws in any case, two for every sample at least: spreads are known from them
STRATUM = 32  # samples
GROWTH = 4  # most times the draws of a stratum in one round
AIM = 0.95  # of the requested error, so that a spread that grows a little takes no round more


class _Stratum:
    """What samples of like slopes have given so far."""

    def __init__(self, forms: Tensor) -> None:
        self.size, self.draws = len(forms), forms.shape[1]
        self.sums, self.squares = forms.sum(1), forms.square().sum(1)

    def add(self, forms: Tensor) -> None:
        """Add draws (n, draws, L + 1)."""
        self.draws += forms.shape[1]
        self.sums += forms.sum(1)
        self.squares += forms.square().sum(1)

    def variances(self) -> Tensor:
        """Return the variances (L + 1,) of a sum over the stratum of single draws."""
        spread = self.squares - self.sums.square() / self.draws
        return spread.clamp(min=0).sum(0) / (self.draws - 1)


@neutral()
def traces(
    problem: Problem,
    generator: torch.Generator,
    *,
    budget: int,
    relative_error: float,
    offset: float,
) -> tuple[Scalar, tuple[Scalar, ...]]:
    """Estimate the residual's trace, and those of its diagonal blocks, without bias.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    generator : torch.Generator
        Of the probes.
    budget : int
        Most draws, in multiples of the samples; two at least.
    relative_error : float
        Requested standard error of the sum with ``offset`` over its absolute value.
    offset : float
        What the trace is added to.

    Returns
    -------
    total : Scalar
        Its ``products`` are passes through as many samples as there are.
    layers : tuple of Scalar
        By parameter tensor.

    Raises
    ------
    UnsupportedError
        If `torch.func.vmap` cannot take the network.
    """
    probes, count = Probes(problem, generator), problem.samples.count
    pilot = min(max(2, math.ceil(PILOT / count)), budget)
    strata = [_Stratum(forms) for forms in _drawn(probes, pilot)]
    while True:
        means = torch.stack([s.sums.sum(0) / s.draws for s in strata]).sum(0) / count
        errors = torch.stack([s.variances() / s.draws for s in strata]).sum(0).sqrt() / count
        target = relative_error * abs(offset + float(means[-1]))
        left = budget * count - sum(s.size * s.draws for s in strata)
        if not float(errors[-1]) > target:
            break
        more = _allocated(strata, AIM * target * count, left)
        if not any(more):
            break
        drawn = [stratum for stratum, draws in zip(strata, more, strict=True) if draws]
        for stratum, forms in zip(drawn, _drawn(probes, more), strict=True):
            stratum.add(forms)
    products = 1 + math.ceil(sum(s.size * s.draws for s in strata) / count)
    *layers, total = (
        Scalar(m, e, (), products, e <= relative_error * abs(m), "stratified by sample")
        for m, e in zip(means.tolist(), errors.tolist(), strict=True)
    )
    return total, tuple(layers)


def _allocated(strata: list[_Stratum], target: float, left: int) -> list[int]:
    """Return how many draws more the samples of each stratum take (Neyman 1934).

    Parameters
    ----------
    strata : list of _Stratum
    target : float
        Requested standard error of the sum over all samples.
    left : int
        Most draws, of all samples together.
    """
    spreads = [math.sqrt(float(s.variances()[-1]) / s.size) for s in strata]
    whole = sum(s.size * spread for s, spread in zip(strata, spreads, strict=True))
    more = []
    for stratum, spread in zip(strata, spreads, strict=True):
        most = GROWTH * stratum.draws
        wanted = min(spread * whole / target**2, most) if target else most
        more.append(max(0, math.ceil(wanted) - stratum.draws))
    total = sum(s.size * m for s, m in zip(strata, more, strict=True))
    return more if total <= left else [m * left // total for m in more]


def _drawn(probes: Probes, more: list[int] | int) -> Iterator[Tensor]:
    """Give each stratum's draws (n, draws, L + 1), the sum last, where there are any.

    They are as many for a sample as ``more`` says, by stratum or for all.
    """
    problem, start = probes.problem, 0
    for x, y, w in problem.batches():
        slopes = _slopes(problem, x, y)[w > 0].detach()
        order = slopes.flatten(1).norm(dim=1).argsort(descending=True, stable=True)
        parts = order.split(STRATUM)
        if isinstance(more, int):
            yield from _forms(probes, x, slopes, order, more).split(STRATUM)
        else:
            for part, draws in zip(parts, more[start : start + len(parts)], strict=True):
                if draws:
                    yield _forms(probes, x, slopes, part, draws)
        start += len(parts)


def _forms(probes: Probes, x: Any, slopes: Tensor, index: Tensor, draws: int) -> Tensor:
    """Draw for the samples (n,) of a batch: (n, draws, L + 1) float64, the sum last."""
    rounds = []
    most = max(1, probes.rows // min(STRATUM, len(index)))
    for part in torch.arange(draws).tensor_split(math.ceil(draws / most)):
        pieces = index.tensor_split(math.ceil(len(index) * len(part) / probes.rows))
        rounds.append(
            torch.cat([probes.forms(samples.rows(x, i), slopes[i], len(part)) for i in pieces])
        )
    forms = torch.cat(rounds, 1)
    return torch.cat([forms, forms.sum(2, keepdim=True)], 2)


def _slopes(problem: Problem, x: Any, y: Any) -> Tensor:
    """Slopes (n, ...) of each sample's loss in its outputs."""
    with torch.no_grad():
        outputs = problem.outputs(problem.parameters, x)
    with torch.enable_grad():
        return grad(lambda z: _sum(problem.losses(z, y), len(z)))(outputs)


def _sum(losses: Tensor, n: int) -> Tensor:
    return losses.sum() if losses.ndim else losses * n
