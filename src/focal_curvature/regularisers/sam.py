"""Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412, equations 2 and 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["sam"]


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
        model: nn.Module,
        loss: nn.Module,
        images: Tensor,
        labels: Tensor,
        reduction: str,
        generator: torch.Generator,
        step: int,
    ) -> dict[str, Tensor]:
        """Set the gradient at the perturbed weights; see `focal_curvature.regularisers`.

        Returns
        -------
        dict
            ``loss`` at the weights themselves, and ``ascent``, how much higher it is at the
            perturbed ones (nats).
        """
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        total = getattr(loss(model(images), labels), reduction)()
        gradient = torch.autograd.grad(total, list(named.values()))
        norm = torch.stack([g.norm() for g in gradient]).norm()
        scale = self.radius / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        moved = {
            name: (p.detach() + scale * g).requires_grad_()
            for (name, p), g in zip(named.items(), gradient, strict=True)
        }
        # On copies: batch norm's running statistics count the batch once, at the weights.
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        logits = functional_call(model, moved | buffers, (images,))
        above = getattr(loss(logits, labels), reduction)()
        for p, g in zip(
            named.values(), torch.autograd.grad(above, list(moved.values())), strict=True
        ):
            p.grad = g
        return {"loss": total.detach(), "ascent": (above - total).detach()}


def sam(radius: float) -> SharpnessAware:
    """Build sharpness-aware minimisation of ``radius`` (> 0)."""
    return SharpnessAware(radius)
