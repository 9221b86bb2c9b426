"""Penalties on the trace of a curvature matrix, added to the loss of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from focal_curvature.regularisers.normalisation import thrice_differentiable

if TYPE_CHECKING:
    from focal_curvature.stack import Stack

# (loss, its total, logits (S N, K), parameters, reduction, S generators) -> unbiased, per run
Estimates = Callable[
    [nn.Module, Tensor, Tensor, Sequence[Tensor], str, Sequence[torch.Generator]], Tensor
]


def random_signs(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw a Rademacher vector of a tensor's shape, dtype and device.

    The tensor holds a block per run along its first dimension, each with a generator of its own;
    that of one run may have no dimension.
    """
    size = (like.numel() // len(generators),)
    bits = [torch.randint(2, size, generator=g, device=like.device) for g in generators]
    return 2 * torch.cat(bits).view(like.shape).to(like.dtype) - 1


def sum_by_run(parts: Sequence[Tensor], runs: int) -> Tensor:
    """Sum tensors over all but the runs (S,), of which each has a block per run."""
    return torch.stack([part.reshape(runs, -1).sum(1) for part in parts]).sum(0)


class TracePenalty:
    """Loss + strength * trace, of the curvature matrix of the same loss on the same batch.

    Batch norm is in the mode of the forward pass: in training the matrix is that of the loss which
    the step descends, with the batch's own statistics as functions of the weights.

    Parameters
    ----------
    estimates : callable
        Differentiable, unbiased estimates of the traces of S runs that share no weights.
    strength : float
        Weight of the trace, > 0.
    probes : int
        Estimates averaged per step, >= 1.
    every : int
        Steps from one penalised step to the next, >= 1. Its penalty is multiplied by ``every``, so
        that on average over the steps a strength means the same (lazy regularisation, Karras et
        al. 2020, arXiv 1912.04958, appendix B).

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, estimates: Estimates, strength: float, probes: int, every: int) -> None:
        if not 0 < strength < math.inf:
            raise ValueError(f"strength must be positive and finite, not {strength}")
        if probes < 1 or every < 1:
            raise ValueError(f"probes and every must be at least 1, not {probes} and {every}")
        self.estimates, self.strength, self.probes, self.every = estimates, strength, probes, every

    def __call__(
        self,
        networks: Stack,
        loss: nn.Module,
        images: Tensor,
        labels: Tensor,
        reduction: str,
        generators: Sequence[torch.Generator],
        step: int,
    ) -> dict[str, Tensor]:
        """Set the gradient of the penalised loss; see `focal_curvature.regularisers`.

        Returns
        -------
        dict
            ``loss`` with the penalty, and ``penalised_trace``, the estimate as it came out (nats),
            which may be negative; NaN at a step without a penalty.
        """
        with thrice_differentiable():
            logits = networks(images).flatten(0, 1)
        losses = loss(logits, labels.flatten())
        totals = getattr(losses.view(networks.size, -1), reduction)(dim=1)
        trace = torch.full_like(totals, math.nan)
        if step % self.every == 0:
            parameters = [p for p in networks.model.parameters() if p.requires_grad]
            # The matrices of several runs are the blocks of one.
            traces = [
                self.estimates(loss, totals.sum(), logits, parameters, reduction, generators)
                for _ in range(self.probes)
            ]
            trace = torch.stack(traces).mean(0)
            totals = totals + self.every * self.strength * trace
        totals.sum().backward()
        return {"loss": totals.detach(), "penalised_trace": trace.detach()}
