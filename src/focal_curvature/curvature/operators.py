"""Hessian, Gauss-Newton matrix and their difference, as products with vectors.

The product is traced once, on one batch, into a graph, and the graph is cut in two: what depends
on the vector, and the rest. The rest runs once per batch and leaves the tensors that the first
needs; a product is then a forward and a backward pass of the linearised network, without autograd
and without the network's own passes. (`torch.func.linearize` does the same, but traces anew for
each batch, several times slower, and holds every intermediate tensor while it does.)

Other weights of the same network and loss run the same operations: their graph is made once for
all, since for small networks making it takes as long as using it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import torch
from torch import Tensor, fx
from torch.func import grad, jvp, vjp

from .prepare import require_finite
from .problem import Problem
from .tracing import record, structure

Parts = tuple[Tensor, ...]
Program = tuple[fx.GraphModule, fx.GraphModule]

MOST_PROGRAMS = 64  # kept; they hold no weights
_programs: dict[Hashable, Program] = {}


def _hessian(problem: Problem, p: Parts, x: Tensor, y: Tensor, w: Tensor, v: Parts) -> Parts:
    """Forward over reverse: the derivative of the gradient along v (Pearlmutter 1994)."""

    def mean_loss(*p: Tensor) -> Tensor:
        return (problem.loss(problem.logits(p, x), y) * w).sum()

    return jvp(grad(mean_loss, argnums=tuple(range(len(p)))), p, v)[1]


def _gauss_newton(problem: Problem, p: Parts, x: Tensor, y: Tensor, w: Tensor, v: Parts) -> Parts:
    """J' (d2 loss / d logits2) J v (Schraudolph 2002)."""

    def network(*p: Tensor) -> Tensor:
        return problem.logits(p, x)

    logits, pull = vjp(network, *p)
    change = jvp(network, p, v)[1]
    slope = grad(lambda z: (problem.loss(z, y) * w).sum())
    return pull(jvp(slope, (logits,), (change,))[1])


def _residual(problem: Problem, p: Parts, x: Tensor, y: Tensor, w: Tensor, v: Parts) -> Parts:
    """Hessian of the logits weighted by the loss's slope, which is held fixed."""
    slope = grad(lambda z: (problem.loss(z, y) * w).sum())(problem.logits(p, x))

    def weighted(*p: Tensor) -> Tensor:
        return (problem.logits(p, x) * slope).sum()

    return jvp(grad(weighted, argnums=tuple(range(len(p)))), p, v)[1]


PRODUCTS: dict[str, Callable[..., Parts]] = {
    "hessian": _hessian,
    "gauss_newton": _gauss_newton,
    "residual": _residual,
}

aten = torch.ops.aten
# Arguments, by place, of which an operation takes the shape and not the values.
SHAPES_ONLY = {
    aten.zeros_like.default: (0,),
    aten.max_pool2d_with_indices_backward.default: (1,),
    aten.avg_pool2d_backward.default: (1,),
    aten._adaptive_avg_pool2d_backward.default: (1,),
}


class Operator:
    """A symmetric P x P matrix of the mean loss, known by its products.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    matrix : str
        "hessian"; "gauss_newton" (positive semi-definite for a loss convex in the logits);
        "residual", the first less the second.
    check : bool
        At the first product, compute the first batch's anew without the trace and demand the same.

    Attributes
    ----------
    products : int
        Products with the whole sample set so far.
    """

    def __init__(self, problem: Problem, matrix: str = "hessian", *, check: bool = True) -> None:
        self.problem, self.matrix, self.products = problem, matrix, 0
        self._check = check
        self._batches = problem.batches()
        self._linearise, self._apply = _program(problem, matrix, self._batches[0])
        # One batch is always at work, so one fewer is kept where not all fit.
        n = max(problem.chunk // problem.batch, 1)
        self._fits = len(self._batches) if len(self._batches) <= n else n - 1
        self._kept: dict[int, Parts] = {}

    def __call__(self, vectors: Tensor) -> Tensor:
        """Multiply one vector (P,) or several (k, P), in one pass over the samples.

        Raises
        ------
        FloatingPointError
            If a product isn't finite; names the first layer affected.
        RuntimeError
            If the same product comes out differently: something in the model is random, or its
            code reads what is no part of it and changed since another network's product was traced.
        """
        problem = self.problem
        rows = vectors.reshape(-1, problem.size)
        out = torch.zeros_like(rows)
        self.products += len(rows)
        with torch.no_grad():
            for i, batch in enumerate(self._batches):
                saved = self._kept.get(i) or self._linearise(*_given(problem), *batch)
                if i < self._fits:
                    self._kept[i] = saved
                for row, total in zip(rows, out, strict=True):
                    part = self._apply(*saved, *problem.split(row))
                    if self._check:
                        self._check_determinism(part, batch, row)
                    total += part
        for total in out:
            require_finite(problem.names, problem.split(total), f"{self.matrix} product")
        return out.view_as(vectors)

    def blocks_vanish(self) -> bool:
        """Whether no diagonal block (one per parameter tensor) depends on the vector at all.

        Read off the traced graph: block l vanishes where no path leads from part l of the vector to
        part l of the product. So it is for the residual of any network that is piecewise linear in
        each parameter tensor by itself (ReLU, pooling, batch norm in evaluation mode; no tensor
        used twice), which makes the Hessian's trace the Gauss-Newton matrix's (Botev et al. 2017,
        arXiv 1706.03662; Dangel et al. 2020, arXiv 1912.10985). A False may be false, a True not.
        """
        nodes = list(self._apply.graph.nodes)
        count = len(self.problem.parameters)
        vector = [node for node in nodes if node.op == "placeholder"][-count:]
        reached = dict.fromkeys(nodes, 0) | {node: 1 << i for i, node in enumerate(vector)}
        for node in nodes:
            shapes = [node.args[i] for i in SHAPES_ONLY.get(node.target, ())]
            for source in node.all_input_nodes:
                if source not in shapes:
                    reached[node] |= reached[source]
        parts = next(node for node in nodes if node.op == "output").args[0].args[0]
        return not any(reached[part] >> i & 1 for i, part in enumerate(parts))

    def _check_determinism(self, a: Tensor, batch: Parts, probe: Tensor) -> None:
        """Compare a batch's product with one computed anew, without the trace, once."""
        self._check = False
        problem = self.problem
        parts = PRODUCTS[self.matrix](problem, problem.parameters, *batch, problem.split(probe))
        b = torch.cat([part.flatten() for part in parts])
        tolerance = torch.finfo(a.dtype).eps ** 0.5
        # Products that aren't finite are named by layer elsewhere.
        if a.isfinite().all() and (a - b).norm() > tolerance * a.norm():
            raise RuntimeError(
                f"the {self.matrix} product of one probe came out differently the second time "
                f"(relative difference {float((a - b).norm() / a.norm()):.1e}): "
                "something in the model or loss is random, or changed between two networks though "
                "it is part of neither"
            )


def normal(problem: Problem, generator: torch.Generator) -> Tensor:
    """Draw a standard normal vector (P,)."""
    first = problem.parameters[0]
    return torch.randn(problem.size, generator=generator, dtype=first.dtype, device=first.device)


def rademacher(problem: Problem, generator: torch.Generator, rows: int) -> Tensor:
    """Draw random signs (rows, P)."""
    first = problem.parameters[0]
    shape = (rows, problem.size)
    bits = torch.randint(2, shape, generator=generator, device=first.device)
    return (2 * bits - 1).to(first.dtype)


def _given(problem: Problem) -> Parts:
    """Return what a program takes from a network."""
    return *problem.parameters, *problem.buffers


def _program(problem: Problem, matrix: str, batch: tuple[Tensor, Tensor, Tensor]) -> Program:
    """Trace a product, or take the program of the last problem that differed in tensors' values."""
    shapes = [(t.shape, t.stride(), t.dtype, t.device) for t in (*_given(problem), *batch)]
    about = structure(problem.model), structure(problem.loss)
    held = [*problem.loss.parameters(), *problem.loss.buffers()]
    if None in about or held:
        return _traced(problem, matrix, batch)
    key = (matrix, about, problem.keys, problem.buffer_keys, *shapes)
    # Taken out and put in again: the first is then the one that was not used for longest.
    program = _programs.pop(key, None) or _traced(problem, matrix, batch)
    if len(_programs) == MOST_PROGRAMS:
        del _programs[next(iter(_programs))]
    _programs[key] = program
    return program


def _traced(problem: Problem, matrix: str, batch: tuple[Tensor, Tensor, Tensor]) -> Program:
    """Trace a product on one batch; return its part without the vector, and the linear rest.

    The first maps (*parameters, *buffers, inputs, labels, weights) to saved tensors, the second
    maps (*saved, *vector parts) to the flat product (P,).
    """
    count = len(problem.parameters)
    given = _given(problem)

    def product(*args: Tensor) -> Tensor:
        parameters, buffers, rest = args[:count], args[count : len(given)], args[len(given) :]
        x, y, w, *vector = rest
        same = replace(problem, buffers=buffers)
        parts = PRODUCTS[matrix](same, parameters, x, y, w, tuple(vector))
        return torch.cat([part.flatten() for part in parts])

    # Distinct tensors: the tracer knows its arguments by identity.
    vector = tuple(torch.ones_like(p) for p in problem.parameters)
    root, whole = record(product, (*given, *batch, *vector))
    for node in whole.find_nodes(op="call_function", target=aten.add.Tensor):
        zeros, other = node.args  # the tangents of ReLU and batch norm add tensors of zeros
        useless = getattr(zeros, "target", None) is aten.zeros_like.default and not node.kwargs
        if useless and node.meta["shape"] == other.meta["shape"]:
            node.replace_all_uses_with(other)
    arguments = [node for node in whole.nodes if node.op == "placeholder"]
    directions = arguments[-count:]
    linear = set(directions)
    result = next(node for node in whole.nodes if node.op == "output").args[0]
    saved: dict[fx.Node, None] = {}  # a dictionary keeps the order
    for node in whole.nodes:
        # The result is no function of the vector where the matrix is zero.
        if node is result or (
            node.op == "call_function" and not linear.isdisjoint(node.all_input_nodes)
        ):
            linear.add(node)
            saved |= dict.fromkeys(a for a in node.all_input_nodes if a not in linear)

    first, copies = fx.Graph(), {}
    for node in whole.nodes:
        if node not in linear and node.op != "output":
            copies[node] = first.node_copy(node, copies.__getitem__)
    first.output(tuple(copies[node] for node in saved))
    second = fx.Graph()
    copies = {node: second.placeholder(node.name) for node in (*saved, *directions)}
    for node in whole.nodes:
        if node in linear and node.op == "call_function":
            copies[node] = second.node_copy(node, copies.__getitem__)
    second.output(copies[result])
    for graph in (first, second):
        graph.eliminate_dead_code()
    return fx.GraphModule(root, first), fx.GraphModule(root, second)
