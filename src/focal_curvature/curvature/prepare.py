"""A private copy of the model in a stated mode, and checks on what comes out of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from focal_curvature.kernels import safe_convolutions


def frozen_copy(model: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Copy a model into evaluation mode, without gradients; the caller's stays as it was.

    Evaluation mode means: batch norm uses its running statistics, dropout is off. Convolutions with
    a defective kernel are made safe.
    """
    twin = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
    twin.zero_grad(set_to_none=True)
    safe_convolutions(twin)
    return twin


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def require_finite(names: Iterable[str], parts: Iterable[Tensor], what: str) -> None:
    """Raise FloatingPointError that names the first layer whose part is not finite."""
    bad = [name for name, part in zip(names, parts, strict=True) if not part.isfinite().all()]
    if bad:
        raise FloatingPointError(
            f"non-finite {what}: first in {bad[0]} ({len(bad)} parameter tensors affected)"
        )


class _Folded(nn.Module):
    """A convolution and the batch norm after it as one convolution of the same parameters."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm

    def forward(self, x: Tensor) -> Tensor:
        norm, bias = self.norm, self.convolution.bias
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - scale * (
            norm.running_mean if bias is None else norm.running_mean - bias
        )
        weight = self.convolution.weight * scale[:, None, None, None]
        return self.convolution._conv_forward(x, weight, shift)


def fold_batch_norm(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Fold every batch norm in evaluation mode into the convolution before it.

    The function of the parameters, hence its Hessian, is unchanged; the activation-sized work of
    batch norm, and the memory that its derivatives need, are gone.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. Its parameters are shared with the result.
    inputs : Tensor
        A few samples, to find which convolution feeds which batch norm, and to check that the
        logits stay the same; where they don't (a convolution's output is used twice, say), the
        model is returned as it is.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Conv2d, _: tuple[Tensor, ...], out: Tensor) -> None:
        made[id(out)] = module, out  # holding the tensor keeps its id its own

    def after_norm(module: nn.BatchNorm2d, args: tuple[Tensor, ...], _: Tensor) -> None:
        if id(args[0]) in made and module.affine and module.track_running_stats:
            pairs.append((made[id(args[0])][0], module))

    hooks = [
        module.register_forward_hook(hook)
        for kind, hook in ((nn.Conv2d, after_convolution), (nn.BatchNorm2d, after_norm))
        for module in model.modules()
        if type(module) is kind
    ]
    with torch.no_grad():
        logits = model(inputs)
        for hook in hooks:
            hook.remove()
        swap: dict[int, nn.Module] = {id(c): _Folded(c, n) for c, n in pairs}
        swap |= {id(n): nn.Identity() for _, n in pairs}
        folded = _swapped(model, swap)
        off = (folded(inputs) - logits).abs().max() / logits.abs().max()
        return folded if off < torch.finfo(logits.dtype).eps ** 0.6 else model


def _swapped(module: nn.Module, swap: dict[int, nn.Module]) -> nn.Module:
    """Shallow copy of a module tree with some of its modules exchanged."""
    twin = copy.copy(module)
    twin._modules = {
        name: swap[id(child)] if id(child) in swap else _swapped(child, swap)
        for name, child in module._modules.items()
        if child is not None
    }
    return twin
