"""Batch norm in evaluation mode, folded into the convolution before it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class _Folded(nn.Module):
    """A convolution and the batch norm after it as one convolution of the same parameters."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm

    def forward(self, x: Tensor) -> Tensor:
        norm, bias = self.norm, self.convolution.bias
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - scale * (
            norm.running_mean if bias is None else norm.running_mean - bias
        )
        weight = self.convolution.weight * scale[:, None, None, None]
        return self.convolution._conv_forward(x, weight, shift)


class _Reads(TorchDispatchMode):
    """Which tensors are read by an operation, but for those of the batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[int] = set()
        self.in_norm = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if not self.in_norm:
            self.ids |= {id(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        return func(*args, **(kwargs or {}))


def _plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of a type itself, with parameters of its own and nothing hung onto it."""
    return (
        type(module) is kind
        and not any(getattr(module, hooks) for hooks in HOOKS)
        and "forward" not in vars(module)
        and module._parameters.get("weight") is not None
        and "bias" in module._parameters
    )


def fold_batch_norm(model: nn.Module, inputs: Any) -> None:
    """Fold batch norms into the convolutions before them, in place.

    The function of the parameters, hence its Hessian, is unchanged; the activation-sized work of
    batch norm, and the memory that its derivatives need, are gone. A pair is folded where both are
    called once and carry no hook or parametrisation, and the batch norm alone reads what the
    convolution returns. All is undone unless the gradient of a random linear function of the
    outputs is the same at other weights and statistics, in float64, which a model must take.

    Parameters
    ----------
    model : nn.Module
        Private, in evaluation mode, not itself a convolution. Its parameters stay the objects that
        they are, under other names.
    inputs : Tensor or tree of tensors
        A few samples, as the model takes them.
    """
    pairs = _pairs(model, inputs)
    if not pairs:
        return
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    swap: dict[int, nn.Module] = {id(c): _Folded(c, n) for c, n in pairs}
    swap |= {id(n): nn.Identity() for _, n in pairs}
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if id(child) in swap
    ]
    moved = _moved(before.values(), [norm for _, norm in pairs])
    try:
        expected = _gradient(model, before, moved, inputs)
    except Exception:  # the model's own code keeps to float32
        return
    for parent, name, child in places:
        parent._modules[name] = swap[id(child)]
    try:
        after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        same = _equal(_gradient(model, after, moved, inputs), expected)
    except Exception:  # the model's own code reads an attribute of what is folded
        same = False
    if not same:
        for parent, name, child in places:
            parent._modules[name] = child


def _pairs(model: nn.Module, inputs: Any) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Find the convolutions and batch norms that may be folded, by one forward pass."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    candidates: list[tuple[int, nn.Conv2d, nn.BatchNorm2d]] = []
    calls: Counter[int] = Counter()
    reads = _Reads()

    def after_convolution(module: nn.Conv2d, _: tuple[Any, ...], out: Tensor) -> None:
        calls[id(module)] += 1
        outputs[id(out)] = module, out  # holding the tensor keeps its id its own
        reads.ids.discard(id(out))

    def before_norm(module: nn.BatchNorm2d, args: tuple[Any, ...]) -> None:
        calls[id(module)] += 1
        reads.in_norm = True
        if args and id(args[0]) in outputs and module.affine and not module.training:
            candidates.append((id(args[0]), outputs[id(args[0])][0], module))

    def after_norm(*_: Any) -> None:
        reads.in_norm = False

    hooks = []
    for module in model.modules():
        if _plain(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_convolution))
        elif _plain(module, nn.BatchNorm2d) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(before_norm))
            hooks.append(module.register_forward_hook(after_norm))
    if not hooks:
        return []
    try:
        with torch.no_grad(), reads:
            returned = {id(t) for t in tree_leaves(model(inputs))}
    finally:
        for hook in hooks:
            hook.remove()
    readers = Counter(out for out, _, _ in candidates)
    return [
        (convolution, norm)
        for out, convolution, norm in candidates
        if readers[out] == calls[id(convolution)] == calls[id(norm)] == 1
        and out not in reads.ids | returned
    ]


def _moved(tensors: Any, norms: list[nn.BatchNorm2d]) -> dict[int, Tensor]:
    """Return other values, in float64, of the parameters and of the batch norms' statistics."""
    statistics = {id(s) for norm in norms for s in (norm.running_mean, norm.running_var)}
    generator = torch.Generator().manual_seed(0)
    moved = {}
    for tensor in tensors:
        value = tensor.detach()
        if value.is_floating_point():
            value = value.double()
            if isinstance(tensor, nn.Parameter) or id(tensor) in statistics:
                one, two = torch.rand(2, *value.shape, generator=generator, dtype=value.dtype)
                value = value * (1 + 0.1 * one.to(value.device)) + 0.01 * two.to(value.device)
            value.requires_grad_(isinstance(tensor, nn.Parameter))
        moved[id(tensor)] = value
    return moved


def _gradient(
    model: nn.Module, named: dict[str, Tensor], moved: dict[int, Tensor], inputs: Any
) -> list[Tensor | None]:
    values = {name: moved[id(tensor)] for name, tensor in named.items()}
    doubled = tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, inputs)
    total = torch.zeros((), dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    for leaf in tree_leaves(functional_call(model, values, (doubled,))):
        weights = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype).to(leaf.device)
        total = total.to(leaf.device) + (leaf * weights).sum()
    wanted = [value for value in moved.values() if value.requires_grad]
    return list(torch.autograd.grad(total, wanted, allow_unused=True))


def _equal(ones: list[Tensor | None], others: list[Tensor | None]) -> bool:
    if [one is None for one in ones] != [other is None for other in others]:
        return False
    pairs = [(a, b) for a, b in zip(ones, others, strict=True) if a is not None and b is not None]
    size = torch.stack([b.norm() for _, b in pairs]).norm()
    apart = torch.stack([(a - b).norm() for a, b in pairs]).norm()
    return bool(apart <= 1e-7 * size)
