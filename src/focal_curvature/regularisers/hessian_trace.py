"""Cross-entropy plus the trace of its Hessian, by Hutchinson's estimator.

Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix", Communications in
Statistics 19(2). The Hessian is indefinite, and its trace can be driven ever more negative where
the network is not linear in each of its weights, as with batch norm in training mode (Dauphin,
Agarwala and Mobahi 2024, arXiv 2401.10809).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from focal_curvature.curvature.prepare import gradients
from focal_curvature.regularisers.penalty import TracePenalty, random_signs, sum_by_run

__all__ = ["hessian_trace"]
ABOUT = {
    "hessian_trace": {
        "label": "Hessian trace",
        "steps": 17,
        "parameters": {
            "strength": {
                "exclusiveMinimum": 0,
                "choose": "cross-entropy plus strength times the trace of its Hessian. Batch norm "
                "is in training mode: it is the trace of the loss that is descended. A step costs "
                "6 to 17 plain ones. Begin at 1% of the ratio of loss to trace before training; "
                "ten times as much kept most of our runs on digits from learning",
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
    """Return v'Hv (S,) of S runs for a probe of random signs v each, differentiable.

    Parameters
    ----------
    total : Tensor
        Scalar loss, of all runs, whose graph is kept.
    loss, logits, reduction
        Not used.
    parameters : sequence of Tensor
        What the Hessians are over, each tensor with a block per run.
    generators : sequence of torch.Generator
        Of the probes, one per run.
    """
    probe = [random_signs(p, generators) for p in parameters]
    products = gradients(gradients([total], parameters), parameters, probe)
    forms = [v * h for v, h in zip(probe, products, strict=True)]
    return sum_by_run(forms, len(generators))


def hessian_trace(strength: float, probes: int = 1, every: int = 1) -> TracePenalty:
    """Build the penalty ``strength`` (> 0) times Tr(H); see `TracePenalty`."""
    return TracePenalty(estimates, strength, probes, every)
