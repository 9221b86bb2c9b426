"""Cross-entropy plus the trace of its Gauss-Newton matrix, the stable form of a trace penalty.

The matrix, J'AJ with the Jacobian J of the batch's logits and A the Hessian of the loss at them, is
positive semi-definite, so that its trace has a floor at zero (Dauphin, Agarwala and Mobahi 2024,
arXiv 2401.10809).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from focal_curvature.regularisers.penalty import TracePenalty, random_signs

__all__ = ["gauss_newton_trace"]


def estimate(
    total: Tensor,
    logits: Tensor,
    parameters: Sequence[Tensor],
    reduction: str,
    generator: torch.Generator,
) -> Tensor:
    """Return |J'Bs|^2 for one draw of random signs s, differentiable in the parameters.

    A sample's block of A is diag(p) - pp' = BB' with B = diag(r) - pr' and r the square roots of
    the probabilities p; independent signs over samples and classes make E ss' the identity, so
    that E |J'Bs|^2 = tr J'AJ also where batch norm ties the samples together. The signs do not
    depend on the weights, as labels sampled from p would: the gradient of the estimate is an
    unbiased one of the trace. One extra backward pass, and one through it.

    Parameters
    ----------
    total
        Not used.
    logits : Tensor
        (N, K), whose graph is kept.
    parameters : sequence of Tensor
        The P weights that the matrix is over.
    reduction : str
        "mean" or "sum" of the samples' cross-entropies.
    generator : torch.Generator
        Of the signs.
    """
    log_probabilities = F.log_softmax(logits, dim=1)
    # Half the logarithm: a square root's derivative is not finite where p is zero.
    mixed = torch.exp(log_probabilities / 2) * random_signs(logits, generator)
    factor = mixed - log_probabilities.exp() * mixed.sum(dim=1, keepdim=True)
    pulled = torch.autograd.grad(logits, parameters, factor, create_graph=True)
    square = torch.stack([part.square().sum() for part in pulled]).sum()
    return square / len(logits) if reduction == "mean" else square


def gauss_newton_trace(strength: float, probes: int = 1, every: int = 1) -> TracePenalty:
    """Build the penalty ``strength`` (> 0) times Tr(G); see `TracePenalty`."""
    return TracePenalty(estimate, strength, probes, every)
