"""Convolutions whose kernels can be relied upon, whatever the processor.

oneDNN, torch's library of convolutions on a CPU, writes past its workspace in the backward pass of
a 1 x 1 convolution with a stride, on channels-last images with fewer channels than the kernel's
block: 8 with AVX2, 16 with AVX-512 (https://github.com/uxlfoundation/oneDNN/issues/6035, open;
oneDNN 3.10.2 in torch 2.11). The process crashes or hangs, or gradients are wrong without a word.
`safe_convolutions` keeps models away from that kernel, `require_native_gradient` compares all
kernels that a model's gradient calls with torch's own.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

BLOCK = 16  # channels of oneDNN's widest block, that of AVX-512
# Of rounding, in epsilons of the sum of the terms' magnitudes. Right kernels stayed below 20 (sums
# of 4,608 products); a float32 sum that lacks one of n equal terms is off by 8e6 / n.
TOLERANCE = 256
IMAGES = 4  # of a comparison: kernels are the same for more


class KernelError(ValueError):
    """A convolution's kernel is wrong on this machine; the message names layer and way out."""


def safe_convolutions(model: nn.Module) -> list[str]:
    """Let strided 1 x 1 convolutions take every s-th pixel first, and then stride 1.

    The same function of the same parameters, without oneDNN's defective kernel; on other devices
    than a CPU nothing changes. Subclasses of Conv2d that leave the convolution itself to it
    (`_conv_forward`) are made safe too, parametrised ones for instance; a call of
    `torch.nn.functional.conv2d` cannot be: `require_native_gradient` finds it.

    Parameters
    ----------
    model : nn.Module
        Changed in place; names and values of its state stay as they are, and so do its types.

    Returns
    -------
    list of str
        Names of the layers that were changed: not those that had been before.
    """
    names = []
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Conv2d)
            and set(module.kernel_size) == {1}
            and max(module.stride) > 1
            and module.padding in ("valid", (0, 0))
            and type(module)._conv_forward is nn.Conv2d._conv_forward
            and "_conv_forward" not in vars(module)
        ):
            # Of the instance: types stay what others look for. Holding the module would be a cycle.
            module._conv_forward = partial(_subsampled, module.stride, module.groups)
            names.append(name)
    return names


def _subsampled(
    stride: tuple[int, int], groups: int, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    if x.device.type != "cpu":
        return F.conv2d(x, weight, bias, stride, groups=groups)
    # As x[..., ::s, ::s], whose derivative would lose the layout with channels last: 15% of a step.
    return F.conv2d(F.avg_pool2d(x, 1, stride), weight, bias, groups=groups)


@dataclass(frozen=True)
class Comparison:
    """What one call of a convolution came to, beside the native kernel's.

    Attributes
    ----------
    layer : str
        Name of the layer's weight, or its shape where the weight is computed.
    result : str
        ``output``, or the gradient of ``input``, ``weight`` or ``bias``.
    image, weight : tuple of int
        Shapes (N, C, H, W) and (outputs, C / groups, rows, columns).
    stride : tuple of int
    groups : int
    channels_last : bool
        Whether oneDNN is given the layout with channels last.
    error : float
        Largest difference over the elements, in epsilons of the dtype, each as a part of the sum
        of its terms' magnitudes.
    """

    layer: str
    result: str
    image: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int
    channels_last: bool
    error: float


class Compared(TorchDispatchMode):
    """Within it, each convolution on a CPU runs by the native kernel as well.

    Equal calls (shapes, layouts, dtypes, strides) are compared once per process; what is computed
    is oneDNN's.

    Parameters
    ----------
    model : nn.Module
        Whose parameters name the layers.
    known : set, optional
        Calls that need no comparison, added to; by default those of the process.

    Attributes
    ----------
    comparisons : list of Comparison
        In the order of the calls.

    Raises
    ------
    KernelError
        By a convolution that would reach oneDNN's defective kernel, before it does.
    """

    def __init__(self, model: nn.Module, known: set[Any] | None = None) -> None:
        super().__init__()
        self.comparisons: list[Comparison] = []
        self._known = _known if known is None else known
        self._names = {p.data_ptr(): name for name, p in model.named_parameters()}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the first operation imports torch's compiler, which takes seconds

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, a convolution twice."""
        kwargs = kwargs or {}
        first = {_FORWARD: 0, _BACKWARD: 1}.get(func)
        if first is None or args[first].device.type != "cpu":
            return func(*args, **kwargs)
        x, weight = args[first], args[first + 1]
        stride, padding, _, transposed, _, groups = args[first + 3 : first + 9]
        layer = self._names.get(weight.data_ptr(), f"a layer of weight {tuple(weight.shape)}")
        last = _channels_last(x) or _channels_last(weight)
        if (
            _AFFECTED
            and last
            and x.dtype == torch.float32
            and not transposed
            and set(weight.shape[2:]) == {1}
            and max(stride) > 1
            and not any(padding)
            and weight.shape[1] < BLOCK
        ):
            raise KernelError(
                f"{layer}: a convolution of {tuple(x.shape)} by {tuple(weight.shape)} with stride "
                f"{max(stride)} overwrites memory on this kind of processor (oneDNN issue 6035): "
                "make it an nn.Conv2d, which is made safe, or take x[..., ::s, ::s] first and "
                "stride 1"
            )
        key = (func, *(_described(arg) for arg in args))
        out = func(*args, **kwargs)
        if key in self._known:
            return out
        with _native_kernels():
            native = func(*args, **kwargs)
            # Every element is a sum of products: its error is to be held against the sum of theirs.
            bound = func(*(a.abs() if isinstance(a, Tensor) else a for a in args), **kwargs)
        before = len(self.comparisons)
        results = ("output",) if func is _FORWARD else ("input", "weight", "bias")
        for result, *parts in zip(results, *map(_listed, (out, native, bound)), strict=True):
            if parts[0] is None:
                continue
            comparison = Comparison(
                layer,
                result,
                tuple(x.shape),
                tuple(weight.shape),
                tuple(stride),
                groups,
                last,
                _error(*parts),
            )
            self.comparisons.append(comparison)
        if all(each.error <= TOLERANCE for each in self.comparisons[before:]):
            self._known.add(key)
        return out


_FORWARD = torch.ops.aten.convolution.default
_BACKWARD = torch.ops.aten.convolution_backward.default
_AFFECTED = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
_known: set[Any] = set()


def _channels_last(tensor: Tensor) -> bool:
    """As torch decides what layout to give oneDNN (c10's ``is_channels_last_strides_2d_s4``)."""
    least = 0
    for axis in (1, *range(tensor.ndim - 1, 1, -1), 0):
        stride, size = tensor.stride(axis), tensor.shape[axis]
        if size == 0 or stride < least or (axis == 0 and least == tensor.stride(1)):
            return False
        least = stride * max(size, 1)
    return tensor.stride(1) > 0


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.shape, argument.stride(), argument.dtype
    return tuple(argument) if isinstance(argument, list) else argument


def _listed(results: Any) -> tuple[Any, ...]:
    return (results,) if isinstance(results, Tensor) else tuple(results)


def _error(out: Tensor, native: Tensor, bound: Tensor) -> float:
    """Largest difference in epsilons of the bound; nothing where the native kernel overflows."""
    off = (out - native).double().abs() / bound.double().clamp(min=torch.finfo(out.dtype).tiny)
    off = off[native.isfinite()].nan_to_num(math.inf)
    return float(off.max()) / torch.finfo(out.dtype).eps if off.numel() else 0.0


@contextmanager
def _native_kernels() -> Iterator[None]:
    """Plain sums of products: neither oneDNN nor NNPACK, whose transforms round otherwise."""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        torch.backends.mkldnn.enabled = before


def require_native_gradient(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    second: bool = False,
    known: set[Any] | None = None,
) -> list[Comparison]:
    """Compute a gradient, with each convolution compared with torch's native kernel.

    Nothing of the model changes: parameters keep their gradients, buffers (running statistics) and
    the generator of random numbers their state. Costs a gradient of these images, and three by the
    slower native kernels where their shapes are new to this process.

    Parameters
    ----------
    model : nn.Module
        In the mode that matters.
    loss : callable
        () -> scalar, through the model; `IMAGES` images suffice.
    second : bool
        Whether derivatives of the gradient are compared too, where it has any.
    known : set, optional
        As for `Compared`.

    Returns
    -------
    list of Comparison
        Of the calls that were not known; none without oneDNN, or on another device.

    Raises
    ------
    KernelError
        If a result differs by more than rounding; names layer, shapes and the way out.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights or weights[0].device.type != "cpu" or not torch.backends.mkldnn.enabled:
        return []
    before = [buffer.clone() for buffer in model.buffers()]
    compared = Compared(model, known)
    try:
        with torch.random.fork_rng(devices=[]), compared:
            gradient = torch.autograd.grad(loss(), weights, create_graph=second, allow_unused=True)
            if second:
                square = sum(g.square().sum() for g in gradient if g is not None)
                # Who needs the derivatives that there are not will say so.
                with suppress(RuntimeError):
                    torch.autograd.grad(square, weights, allow_unused=True)
    finally:
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), before, strict=True):
                buffer.copy_(value)
    for comparison in compared.comparisons:
        if comparison.error > TOLERANCE:
            raise KernelError(_advice(comparison))
    return compared.comparisons


def _advice(comparison: Comparison) -> str:
    what = comparison.result if comparison.result == "output" else f"{comparison.result}'s gradient"
    return (
        f"{comparison.layer}: oneDNN's {what} of a convolution of {comparison.image} by "
        f"{comparison.weight}, stride {comparison.stride}, groups {comparison.groups}, is "
        f"{comparison.error:.3g} epsilons from the native kernel's, more than rounding: switch "
        "oneDNN off (torch.backends.mkldnn.enabled = False), or set ONEDNN_MAX_CPU_ISA to an older "
        "instruction set, such as AVX2 or AVX"
    )
