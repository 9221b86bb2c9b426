"""Penalties on the trace of a curvature matrix, added to the loss of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from focal_curvature.regularisers.normalisation import ComposedBatchNorm

# (loss of the batch, logits (N, K), parameters, reduction, generator) -> one unbiased estimate
Estimate = Callable[[Tensor, Tensor, Sequence[Tensor], str, torch.Generator], Tensor]


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a Rademacher vector of a tensor's shape, dtype and device."""
    bits = torch.randint(2, like.shape, generator=generator, device=like.device)
    return 2 * bits.to(like.dtype) - 1


class TracePenalty:
    """Loss + strength * trace, of the curvature matrix of the same loss on the same batch.

    Batch norm is in the mode of the forward pass: in training the matrix is that of the loss which
    the step descends, with the batch's own statistics as functions of the weights.

    Parameters
    ----------
    estimate : callable
        A differentiable, unbiased estimate of the trace.
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

    def __init__(self, estimate: Estimate, strength: float, probes: int, every: int) -> None:
        if not 0 < strength < math.inf:
            raise ValueError(f"strength must be positive and finite, not {strength}")
        if probes < 1 or every < 1:
            raise ValueError(f"probes and every must be at least 1, not {probes} and {every}")
        self.estimate, self.strength, self.probes, self.every = estimate, strength, probes, every

    def __call__(
        self,
        model: nn.Module,
        loss: nn.Module,
        images: Tensor,
        labels: Tensor,
        reduction: str,
        generator: torch.Generator,
        step: int,
    ) -> dict[str, Tensor]:
        """Set the gradient of the penalised loss; see `focal_curvature.regularisers`.

        Returns
        -------
        dict
            ``loss`` with the penalty, and ``penalised_trace``, the estimate as it came out (nats),
            which may be negative; NaN at a step without a penalty.
        """
        with ComposedBatchNorm():
            logits = model(images)
        total = getattr(loss(logits, labels), reduction)()
        trace = torch.full_like(total, math.nan)
        if step % self.every == 0:
            parameters = [p for p in model.parameters() if p.requires_grad]
            traces = [
                self.estimate(total, logits, parameters, reduction, generator)
                for _ in range(self.probes)
            ]
            trace = torch.stack(traces).mean()
            total = total + self.every * self.strength * trace
        total.backward()
        return {"loss": total.detach(), "penalised_trace": trace.detach()}
