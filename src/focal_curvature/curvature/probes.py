"""Random signs drawn anew for every sample, and the residual's quadratic forms in them.

A sample's residual R_n is the Hessian of its outputs, weighed by the slope of its loss. E v'R_n v
is its trace, and part of what v'R_n v holds is known to have no mean:

- Where a linear layer multiplies its input by a weight, the change of the one times that of the
  other: the input does not depend on that weight, so that signs of its own are independent of it.
  It is left out, by giving signs not to the weight but the change that they make to the layer's
  output. (In a piecewise linear network nothing else is left.)
- In a linear layer on a single vector, the spread of that change: one sign an output, times the
  vector's length, has the variance that a matrix of signs gives it.

A linear layer on many vectors, as tokens are, has a matrix of signs for all samples, times signs of
each sample's own for rows and columns: a product with them is one with the matrix, and forms of
different samples, or of different draws, are uncorrelated. (Not so a convolution's, whose kernel
has several numbers in one row and column.) All draws of a sample share the network's own passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from .prepare import refuse
from .problem import Problem

LARGEST = 2**25  # numbers in the signs of one pass: 128 MB in float32
ROWS = 256  # samples times draws in one pass

# What is made of a call (function, arguments, keywords, places of the parameters that it sees).
Call = Callable[[Any, tuple, dict, list[int]], Any]


class _Calls(TorchFunctionMode):
    """Within it, what a call that sees parameters returns is up to ``call``."""

    def __init__(self, problem: Problem, call: Call) -> None:
        super().__init__()
        self.places = {id(p): i for i, p in enumerate(problem.parameters)}
        self.call = call

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        places = [self.places.get(id(t)) for t in tree_leaves((args, kwargs))]
        seen = [i for i in places if i is not None]
        return self.call(func, args, kwargs, seen) if seen else func(*args, **kwargs)


class Probes:
    """Quadratic forms v'R_n v of a problem's residual, by sample.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    generator : torch.Generator
        Of the signs, on the problem's device.

    Attributes
    ----------
    rows : int
        Samples, times draws for each, that there is room for at a time.
    """

    def __init__(self, problem: Problem, generator: torch.Generator) -> None:
        self.problem, self.generator = problem, generator
        calls: Counter[int] = Counter()
        weights: dict[int, None] = {}  # a dictionary keeps the order

        def count(func: Any, args: tuple, kwargs: dict, seen: list[int]) -> Any:
            out = func(*args, **kwargs)
            if any(isinstance(t, Tensor) for t in tree_leaves(out)):  # else it reads a shape
                calls.update(seen)
            if (i := self._weight(func, args, kwargs, seen)) is not None:
                weights[i] = None
            return out

        with torch.no_grad(), _Calls(problem, count):
            problem.outputs(problem.parameters, problem.samples.first(1)[0])
        self.weights = [i for i in weights if calls[i] == 1]
        self.others = [i for i in range(len(problem.parameters)) if i not in self.weights]
        self.order = torch.tensor([*self.weights, *self.others], device=problem.device).argsort()
        shapes = [p.shape for p in problem.parameters]
        numbers = sum(shapes[i].numel() for i in self.others)
        numbers += sum(sum(shapes[i]) for i in self.weights)
        self.rows = max(1, min(ROWS, LARGEST // numbers))

    def _weight(self, func: Any, args: tuple, kwargs: dict, seen: list[int]) -> int | None:
        """Return the place of the weight, if the call is a linear layer's."""
        if func is not F.linear:
            return None
        weight = _argument(args, kwargs, "weight")
        return next((i for i in seen if self.problem.parameters[i] is weight), None)

    def _signs(self, *shape: int) -> Tensor:
        bits = torch.randint(
            2, shape, generator=self.generator, device=self.problem.device, dtype=torch.int8
        )
        return (2 * bits - 1).to(self.problem.dtype)

    def forms(self, x: Any, slopes: Tensor, draws: int) -> Tensor:
        """v'R_n v by parameter tensor.

        Parameters
        ----------
        x : Tensor or tree of tensors
            n inputs.
        slopes : Tensor
            (n, ...), of each sample's loss in its outputs.
        draws : int
            Draws of v for each sample.

        Returns
        -------
        Tensor
            (n, draws, L) float64.

        Raises
        ------
        UnsupportedError
            If `torch.func.vmap` cannot take the network.
        """
        parameters = self.problem.parameters
        shapes = [p.shape for p in parameters]
        rows = len(slopes), draws
        signs = (
            [tuple(self._signs(*rows, n) for n in shapes[i]) for i in self.weights],
            [self._signs(*rows, *shapes[i]) for i in self.others],
        )
        shared = [self._signs(*shapes[i]) for i in self.weights]

        def of_sample(x: Any, slope: Tensor, signs: tuple[list, list]) -> Tensor:
            one = tree_map_only(Tensor, lambda t: t[None], x)
            inputs, zeros = self._inputs(one)

            def weighted(shifts: list[Tensor], others: list[Tensor]) -> Tensor:
                outputs = self._shifted(one, dict(zip(self.weights, shifts, strict=True)), others)
                return (outputs[0] * slope).sum()

            def of_draw(vectors: list[tuple[Tensor, Tensor]], others: list[Tensor]) -> Tensor:
                layers = zip(inputs, vectors, shared, strict=True)
                changes = [_change(*layer) for layer in layers]
                point = zeros, [parameters[i] for i in self.others]
                along = changes, others
                bent = jvp(grad(weighted, argnums=(0, 1)), point, along)[1]
                forms = tree_map(lambda a, b: (a * b).sum(), along, bent)
                return torch.stack(tree_leaves(forms))[self.order]

            return vmap(of_draw)(*signs)

        axes = tree_map(lambda t: 0 if isinstance(t, Tensor) else None, x)
        with torch.no_grad(), refuse("no second derivatives by sample"):
            return vmap(of_sample, (axes, 0, 0))(x, slopes, signs).double()

    def _inputs(self, x: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Return the inputs of the weights' layers, and zeros like their outputs."""
        layers: dict[int | None, tuple[Tensor, Tensor]] = {}

        def note(func: Any, args: tuple, kwargs: dict, seen: list[int]) -> Any:
            out = func(*args, **kwargs)
            if (i := self._weight(func, args, kwargs, seen)) in self.weights:
                # A clone, since what follows may work in place.
                layers[i] = _argument(args, kwargs, "input").clone(), torch.zeros_like(out)
            return out

        with _Calls(self.problem, note):
            self.problem.outputs(self.problem.parameters, x)
        return [layers[i][0] for i in self.weights], [layers[i][1] for i in self.weights]

    def _shifted(self, x: Any, shifts: dict[int, Tensor], others: list[Tensor]) -> Tensor:
        """Return the outputs for shifted layers' outputs, and other parameters."""
        parameters = list(self.problem.parameters)
        for i, p in zip(self.others, others, strict=True):
            parameters[i] = p

        def shift(func: Any, args: tuple, kwargs: dict, seen: list[int]) -> Any:
            out = func(*args, **kwargs)
            i = self._weight(func, args, kwargs, seen)
            return out if i is None or i not in shifts else out + shifts[i]

        with _Calls(self.problem, shift):
            return self.problem.outputs(tuple(parameters), x)


def _argument(args: tuple, kwargs: dict, name: str) -> Tensor:
    """Return the input or weight that a linear layer is called with."""
    return kwargs[name] if name in kwargs else args[("input", "weight").index(name)]


def _change(inputs: Tensor, signs: tuple[Tensor, Tensor], matrix: Tensor) -> Tensor:
    """Return what a weight's signs, of rows, columns and both, make of inputs (..., n)."""
    rows, columns = signs
    if inputs.numel() == inputs.shape[-1]:
        return (inputs.norm() * rows).expand(*inputs.shape[:-1], -1)
    return rows * F.linear(inputs * columns, matrix)
