"""Cross-entropy plus the trace of its Hessian, by Hutchinson's estimator.

Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix", Communications in
Statistics 19(2). The Hessian is indefinite, and its trace can be driven ever more negative where
the network is not linear in each of its weights, as with batch norm in training mode (Dauphin,
Agarwala and Mobahi 2024, arXiv 2401.10809).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from focal_curvature.regularisers.penalty import TracePenalty, random_signs

__all__ = ["hessian_trace"]


def estimate(
    total: Tensor,
    logits: Tensor,
    parameters: Sequence[Tensor],
    reduction: str,
    generator: torch.Generator,
) -> Tensor:
    """Return v'Hv for one probe of random signs v, differentiable in the parameters.

    Parameters
    ----------
    total : Tensor
        Scalar loss, whose graph is kept.
    logits, reduction
        Not used.
    parameters : sequence of Tensor
        The P weights that the Hessian is over.
    generator : torch.Generator
        Of the probe.
    """
    probe = [random_signs(p, generator) for p in parameters]
    gradient = torch.autograd.grad(total, parameters, create_graph=True)
    products = torch.autograd.grad(gradient, parameters, probe, create_graph=True)
    return torch.stack([(v * h).sum() for v, h in zip(probe, products, strict=True)]).sum()


def hessian_trace(strength: float, probes: int = 1, every: int = 1) -> TracePenalty:
    """Build the penalty ``strength`` (> 0) times Tr(H); see `TracePenalty`."""
    return TracePenalty(estimate, strength, probes, every)
