"""Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412, equations 2 and 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from focal_curvature.stack import Stack

__all__ = ["sam"]
ABOUT = {
    "sam": {
        "label": "SAM",
        "steps": 2,
        "parameters": {
            "radius": {
                "exclusiveMinimum": 0,
                "choose": "of the ascent step (Foret et al. 2021, who found 0.05 to 0.1 best on "
                "CIFAR); two plain steps' cost",
            }
        },
    }
}


class SharpnessAware:
    """Descend along the gradient at the point of steepest ascent, ``radius`` away.

    Parameters
    ----------
    radius : float
        Euclidean length of the ascent step, over all weights, > 0.

    Raises
    ------
    ValueError
        If ``radius`` is not positive and finite.
    """

    def __init__(self, radius: float) -> None:
        if not 0 < radius < math.inf:
            raise ValueError(f"radius must be positive and finite, not {radius}")
        self.radius = radius

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
        """Set the gradient at the perturbed weights; see `focal_curvature.regularisers`.

        Returns
        -------
        dict
            ``loss`` at the weights themselves, and ``ascent``, how much higher it is at the
            perturbed ones (nats).
        """

        def totals(model: Callable[[Tensor], Tensor]) -> Tensor:
            losses = loss(networks(images, model).flatten(0, 1), labels.flatten())
            return getattr(losses.view(networks.size, -1), reduction)(dim=1)

        model = networks.model
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        below = totals(model)
        unreached = {"allow_unused": True, "materialize_grads": True}
        gradient = torch.autograd.grad(below.sum(), list(named.values()), **unreached)
        norms = networks.norms(gradient)
        scale = self.radius / norms.clamp(min=torch.finfo(norms.dtype).tiny)
        moved = {
            name: (p.detach() + networks.scaled(g, scale)).requires_grad_()
            for (name, p), g in zip(named.items(), gradient, strict=True)
        }
        # On copies: batch norm's running statistics count the batch once, at the weights.
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        above = totals(lambda x: functional_call(model, moved | buffers, (x,)))
        gradient = torch.autograd.grad(above.sum(), list(moved.values()), **unreached)
        for p, g in zip(named.values(), gradient, strict=True):
            p.grad = g
        return {"loss": below.detach(), "ascent": (above - below).detach()}


def sam(radius: float) -> SharpnessAware:
    """Build sharpness-aware minimisation of ``radius`` (> 0)."""
    return SharpnessAware(radius)
