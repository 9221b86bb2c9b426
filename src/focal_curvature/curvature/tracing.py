"""Record a function of tensors as a graph of aten operations.

`torch.fx.experimental.proxy_tensor.make_fx` does this with a fake tensor for every node, at a
millisecond each; a curvature product of a ResNet has thousands, and nothing here needs them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class _Recorder(TorchDispatchMode):
    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()
        self.root, self.graph = nn.Module(), fx.Graph()
        # The tensor is held too, since an id is only good while its object lives.
        self.known: dict[int, tuple[fx.Node, Tensor]] = {}
        for i, argument in enumerate(arguments):
            self.remember(self.graph.placeholder(f"argument{i}"), argument)

    def remember(self, node: fx.Node, tensor: Tensor) -> None:
        node.meta["shape"] = tensor.shape
        self.known[id(tensor)] = node, tensor

    def node(self, tensor: Tensor) -> fx.Node:
        if id(tensor) not in self.known:  # a constant: a buffer, or a scalar made by the code
            name = f"constant{len(self.known)}"
            self.root.register_buffer(name, tensor)
            self.remember(self.graph.get_attr(name), tensor)
        return self.known[id(tensor)][0]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise ValueError(
                "the model or loss turns a tensor into a Python number, which a recorded graph "
                "would take for a constant"
            )
        if func is torch.ops.aten._efficientzerotensor.default:
            # Tangents of constants: torch 2.11 crashes where one meets a number (mse_loss's second
            # derivative).
            func = torch.ops.aten.zeros.default
        out = func(*args, **kwargs)
        if not isinstance(out, Tensor | tuple | list):  # a question about shapes
            return out
        node = self.graph.call_function(func, *tree_map_only(Tensor, self.node, (args, kwargs)))
        if isinstance(out, Tensor):
            self.remember(node, out)
        else:
            for i, part in enumerate(out):
                if isinstance(part, Tensor):
                    self.remember(self.graph.call_function(operator.getitem, (node, i)), part)
        return out


def record(
    function: Callable[..., Tensor], arguments: Sequence[Tensor]
) -> tuple[nn.Module, fx.Graph]:
    """Run a function of tensors once and return the operations it ran, without mutation.

    Parameters
    ----------
    function : callable
        (*arguments) -> Tensor. What it does may not depend on the values of the arguments.
    arguments : sequence of Tensor
        Distinct objects.

    Raises
    ------
    ValueError
        If the function turns a tensor into a Python number.

    Returns
    -------
    (Module, Graph)
        The constants' owner, and the graph.
    """
    recorder = _Recorder(arguments)
    with recorder:
        out = functionalize(function, remove="mutations")(*arguments)
    recorder.graph.output(recorder.node(out))
    return recorder.root, recorder.graph


# Attributes that are what they are. A function or class counts as itself, whatever it refers to.
PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), type, FunctionType, BuiltinFunctionType),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


def structure(module: nn.Module) -> Hashable | None:
    """Describe all that a module's operations depend on beside its parameters and buffers.

    Modules of equal structure run the same operations on inputs of equal shapes, unless their
    code reads what is no part of them, such as a global variable.

    Returns
    -------
    hashable or None
        None where a module holds something that cannot be compared, such as a tensor that is no
        buffer, or a hook.
    """

    def plain(value: Any) -> Hashable:
        if isinstance(value, dict):
            return "dict", *((plain(k), plain(v)) for k, v in value.items())
        if isinstance(value, list | tuple):
            return type(value), *map(plain, value)
        if isinstance(value, set | frozenset) and not value:
            return "set"
        if isinstance(value, partial):
            return "partial", value.func, plain(value.args), plain(value.keywords)
        if isinstance(value, PLAIN):
            return type(value), value  # 1, 1.0 and True are equal
        raise TypeError(type(value))

    seen: dict[int, int] = {}  # a module that is used twice is not two modules
    parts = []
    for name, part in module.named_modules(remove_duplicate=False):
        attributes = dict(vars(part))
        held = [attributes.pop(kind) for kind in ("_parameters", "_buffers")]
        shapes = [(k, v is None or (v.shape, v.dtype)) for kind in held for k, v in kind.items()]
        attributes["_modules"] = list(attributes["_modules"])
        try:
            about = plain(attributes)
        except TypeError:
            return None
        parts.append((name, type(part), seen.setdefault(id(part), len(seen)), *shapes, about))
    return tuple(parts)
