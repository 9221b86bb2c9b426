"""Networks of dense layers: what is asked of every sample's gradient, without the gradients.

Where each parameter is the weight or the bias of one call of a linear layer on vectors, a sample's
gradient in a weight is the outer product of the slope in the layer's output and its input: squared
norms and quadratic forms follow from both, at the cost of passes through the whole batch
(Goodfellow 2015, arXiv 1510.01799), where numbers of samples times parameters would go through
memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .prepare import UnsupportedError
from .problem import Problem

# (input (n, in), weight (out, in), bias (out,) or None) -> output (n, out)
Layer = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class _Layers(TorchFunctionMode):
    """Within it, each linear layer's output is what ``layer`` makes of it.

    Raises
    ------
    UnsupportedError
        Where a parameter is used in another way.
    """

    def __init__(self, problem: Problem, layer: Layer) -> None:
        super().__init__()
        self.ids, self.layer = {id(p) for p in problem.parameters}, layer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.ids.isdisjoint(id(t) for t in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        names = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        if func is not F.linear or names["input"].ndim != 2 or id(names["input"]) in self.ids:
            raise UnsupportedError("a parameter is not one of a linear layer on vectors")
        return self.layer(names["input"], names["weight"], names.get("bias"))


def applies(problem: Problem) -> bool:
    """Whether each parameter is used once, by a linear layer on vectors, a row per sample."""
    x, _ = problem.samples.first(2)
    calls: Counter[int] = Counter()
    count = min(2, problem.samples.count)

    def layer(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if len(inputs) != count:
            raise UnsupportedError("a layer's rows are not samples")
        calls.update((id(weight), id(bias)))
        return F.linear(inputs, weight, bias)

    try:
        with torch.no_grad(), _Layers(problem, layer):
            problem.outputs(problem.parameters, x)
    except UnsupportedError:
        return False
    return all(calls[id(p)] == 1 for p in problem.parameters)


def squared_norms(problem: Problem, x: Any, cotangents: Tensor) -> Tensor:
    """|J'c|^2 and |theta J'c|^2 of each sample and cotangent, by parameter tensor.

    Parameters
    ----------
    x : Tensor or tree of tensors
        n inputs.
    cotangents : Tensor
        (n, m, K).

    Returns
    -------
    Tensor
        (n, 2, m, L) float64.
    """
    shifts: list[Tensor] = []
    calls: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def layer(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        shift = inputs.new_zeros(len(inputs), len(weight)).requires_grad_()
        shifts.append(shift)
        calls.append((inputs.detach(), weight, bias))
        return F.linear(inputs, weight, bias) + shift

    with torch.enable_grad(), _Layers(problem, layer):
        outputs = problem.outputs(problem.parameters, x).flatten(1)
    place = {id(p): i for i, p in enumerate(problem.parameters)}
    n, m, _ = cotangents.shape
    norms = torch.zeros(n, 2, m, len(place), dtype=torch.float64, device=problem.device)
    for k in range(m):
        # Zero behind what no gradient goes through, such as a comparison.
        slopes = torch.autograd.grad(
            outputs, shifts, cotangents[:, k], retain_graph=k < m - 1,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        for slope, (inputs, weight, bias) in zip(slopes, calls, strict=True):
            squares, of_inputs = slope.square(), inputs.square()
            if (i := place.get(id(weight))) is not None:
                norms[:, 0, k, i] = (squares.sum(1) * of_inputs.sum(1)).double()
                norms[:, 1, k, i] = ((squares @ weight.square()) * of_inputs).sum(1).double()
            if bias is not None and (i := place.get(id(bias))) is not None:
                norms[:, 0, k, i] = squares.sum(1).double()
                norms[:, 1, k, i] = (squares @ bias.square()).double()
    return norms
