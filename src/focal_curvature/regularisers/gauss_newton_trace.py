"""A loss plus the trace of its Gauss-Newton matrix, the stable form of a trace penalty.

The matrix, J'AJ with the Jacobian J of the batch's logits and A the Hessian of the loss at them, is
positive semi-definite for a loss that is convex in the logits, such as cross-entropy, so that its
trace has a floor at zero (Dauphin, Agarwala and Mobahi 2024, arXiv 2401.10809). Focal loss is not
convex where predictions are wrong; there its trace may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.curvature.prepare import gradients
from focal_curvature.losses.focal import FocalLoss
from focal_curvature.regularisers.penalty import TracePenalty, random_signs, sum_by_run

__all__ = ["gauss_newton_trace"]
ABOUT = {
    "gauss_newton_trace": {
        "label": "Gauss-Newton trace",
        "steps": 5,
        "parameters": {
            "strength": {
                "exclusiveMinimum": 0,
                "choose": "likewise of its Gauss-Newton matrix, which cannot be driven below zero. "
                "For networks of ReLUs without batch norm the two traces are equal, and this "
                "one costs half: 3 to 5 plain steps",
            },
            "probes": {"type": "integer", "minimum": 1, "choose": "random probes per step"},
            "every": {
                "type": "integer",
                "minimum": 1,
                "choose": "steps from one penalised step to the next; the penalty is multiplied by "
                "`every`, so that a strength means the same",
            },
        },
    }
}


def estimates(
    loss: nn.Module,
    total: Tensor,
    logits: Tensor,
    parameters: Sequence[Tensor],
    reduction: str,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Return an estimate of tr J'AJ (S,) of S runs for a draw of signs s each, differentiable.

    Of cross-entropy |J'Bs|^2: a sample's block of A is diag(p) - pp' = BB' with B = diag(r) - pr'
    and r the square roots of the probabilities p. Of another loss, whose A may be indefinite,
    (J's)'(J'As). Independent signs over samples and classes make E ss' the identity, also where
    batch norm ties the samples together. The signs do not depend on the weights, as labels sampled
    from p would: the gradient of the estimate is an unbiased one of the trace. One extra backward
    pass, or two, and one through them.

    Parameters
    ----------
    loss : nn.Module
        Gives the samples' losses.
    total : Tensor
        Scalar loss, of all runs, whose graph is kept.
    logits : Tensor
        (S N, K), run after run, whose graph is kept.
    parameters : sequence of Tensor
        What the matrices are over, each tensor with a block per run.
    reduction : str
        "mean" or "sum" of the samples' losses.
    generators : sequence of torch.Generator
        Of the signs, one per run.
    """
    if not (isinstance(loss, FocalLoss) and loss.gamma == 0):
        signs = random_signs(logits, generators)
        (bent,) = gradients(gradients([total], [logits]), [logits], [signs])
        one, two = (gradients([logits], parameters, [cotangent]) for cotangent in (signs, bent))
        return sum_by_run([a * b for a, b in zip(one, two, strict=True)], len(generators))
    log_probabilities = F.log_softmax(logits, dim=1)
    # Half the logarithm: a square root's derivative is not finite where p is zero.
    mixed = torch.exp(log_probabilities / 2) * random_signs(logits, generators)
    factor = mixed - log_probabilities.exp() * mixed.sum(dim=1, keepdim=True)
    pulled = gradients([logits], parameters, [factor])
    runs = len(generators)
    squares = sum_by_run([part.square() for part in pulled], runs)
    return squares * (runs / len(logits)) if reduction == "mean" else squares


def gauss_newton_trace(strength: float, probes: int = 1, every: int = 1) -> TracePenalty:
    """Build the penalty ``strength`` (> 0) times Tr(G); see `TracePenalty`."""
    return TracePenalty(estimates, strength, probes, every)
