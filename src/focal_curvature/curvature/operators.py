"""Hessian, Gauss-Newton matrix and their difference, as products with vectors.

The product is traced once, on one batch, into a graph, and the graph is cut in two: what depends
on the vector, and the rest. The rest runs once per batch and leaves the tensors that the first
needs; a product is then a forward and a backward pass of the linearised network, without autograd
and without the network's own passes. (`torch.func.linearize` does the same, but traces anew for
each batch, several times slower, and holds every intermediate tensor while it does.)

Other weights of the same network and loss run the same operations: their graph is made once for
all, since for small networks making it takes as long as using it.

Where a network or loss cannot be traced (custom autograd functions without a forward derivative,
code that reads values), products are made by differentiating twice backwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import grad, jvp, vjp
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from ..memory import out_of_memory
from .prepare import UnsupportedError, first_line, gradients, neutral, refuse, require_finite
from .problem import Loss, Problem
from .samples import Batch
from .tracing import record, structure

logger = logging.getLogger(__name__)

Parts = tuple[Tensor, ...]
Program = tuple[fx.GraphModule, fx.GraphModule]

MOST_PROGRAMS = 64  # kept; they hold no weights
_programs: dict[Hashable, Program] = {}


def _hessian(problem: Problem, p: Parts, x: Any, y: Any, w: Tensor, v: Parts) -> Parts:
    """Forward over reverse: the derivative of the gradient along v (Pearlmutter 1994)."""

    def mean_loss(*p: Tensor) -> Tensor:
        return problem.total(problem.outputs(p, x), y, w)

    return jvp(grad(mean_loss, argnums=tuple(range(len(p)))), p, v)[1]


def _gauss_newton(problem: Problem, p: Parts, x: Any, y: Any, w: Tensor, v: Parts) -> Parts:
    """J' (d2 loss / d outputs2) J v (Schraudolph 2002)."""

    def network(*p: Tensor) -> Tensor:
        return problem.outputs(p, x)

    outputs, pull = vjp(network, *p)[:2]
    change = jvp(network, p, v)[1]
    slope = grad(lambda z: problem.total(z, y, w))
    return pull(jvp(slope, (outputs,), (change,))[1])


def _residual(problem: Problem, p: Parts, x: Any, y: Any, w: Tensor, v: Parts) -> Parts:
    """Hessian of the outputs weighted by the loss's slope, which is held fixed."""
    slope = grad(lambda z: problem.total(z, y, w))(problem.outputs(p, x))

    def weighted(*p: Tensor) -> Tensor:
        return (problem.outputs(p, x) * slope).sum()

    return jvp(grad(weighted, argnums=tuple(range(len(p)))), p, v)[1]


PRODUCTS: dict[str, Callable[..., Parts]] = {
    "hessian": _hessian,
    "gauss_newton": _gauss_newton,
    "residual": _residual,
}


def backward_twice(problem: Problem, matrix: str, batch: Batch, v: Parts) -> Parts:
    """Make a product from backward passes alone, of whatever autograd can differentiate twice."""
    x, y, w = batch
    with torch.enable_grad():
        p = tuple(t.detach().requires_grad_() for t in problem.parameters)
        outputs = problem.outputs(p, x)
        total = problem.total(outputs, y, w)
        if matrix == "gauss_newton":
            # J v, by differentiating J'u, which is linear in u.
            u = torch.zeros_like(outputs, requires_grad=True)
            (change,) = gradients([_along(gradients([outputs], p, [u]), v)], [u])
            z = outputs.detach().requires_grad_()
            slopes = gradients([problem.total(z, y, w)], [z])
            bent = gradients([_along(slopes, [change])], [z])
            return tuple(t.detach() for t in gradients([outputs], p, bent))
        if matrix == "residual":
            (slope,) = gradients([total], [outputs])
            total = (outputs * slope.detach()).sum()
        return tuple(t.detach() for t in gradients([_along(gradients([total], p), v)], p))


def require_second_derivatives(problem: Problem, batch: Batch) -> None:
    """Raise RuntimeError where a function says that its derivative has none (once_differentiable).

    Autograd itself does where a path leads on behind it. Where none is left, products would be
    zeros, which are symmetric.
    """
    x, y, w = batch
    with torch.enable_grad():
        p = tuple(t.detach().requires_grad_() for t in problem.parameters)
        parts = gradients([problem.total(problem.outputs(p, x), y, w)], p)
    waiting, seen = [part.grad_fn for part in parts], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise RuntimeError("a function in it is marked once_differentiable")
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]


def _along(parts: Iterable[Tensor], vector: Iterable[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(parts, vector, strict=True)]).sum()


aten = torch.ops.aten
# Arguments, by place, of which an operation takes the shape and not the values.
SHAPES_ONLY = {
    aten.zeros_like.default: (0,),
    aten.max_pool2d_with_indices_backward.default: (1,),
    aten.max_pool3d_with_indices_backward.default: (1,),
    aten.adaptive_max_pool2d_backward.default: (1,),
    aten.adaptive_max_pool3d_backward.default: (1,),
    aten.avg_pool2d_backward.default: (1,),
    aten._adaptive_avg_pool2d_backward.default: (1,),
}


class Operator:
    """A symmetric P x P matrix of the mean loss of a network, known by its products.

    ::

        hessian = Operator(model, loss, (inputs, targets))
        ritz = lanczos(hessian, hessian.normal(torch.Generator().manual_seed(0)), k=3)

    Parameters
    ----------
    model : nn.Module
        A private copy in evaluation mode is used; the caller's stays as it is.
    loss : callable
        (outputs, targets) -> losses (N,), or their mean.
    data : (inputs, targets), or iterable of such pairs
        A tuple of two is the whole sample set, in tensors (or trees of tensors) with a row per
        sample; an iterable is read anew for each pass and must give the same batches each time.
    matrix : str
        "hessian"; "gauss_newton" (positive semi-definite for a loss convex in the outputs);
        "residual", the first less the second.
    check : bool
        Look on two samples whether the network is a function of its weights and one sample, and at
        the first product, on the first batch, whether it is symmetric and comes out the same
        without the trace.
    **options
        ``forward``, ``parameters``, ``dtype``, ``device``, ``batch``, ``chunk``: see `Problem.of`.

    Attributes
    ----------
    size : int
        P, the number of parameters.
    names : tuple of str
        Of the parameter tensors, in the order of their parts of a vector.
    dtype : torch.dtype
    device : torch.device
        Of vectors.
    products : int
        Products with the whole sample set so far.

    Raises
    ------
    UnsupportedError
        Where the curvature cannot be computed; one line says why and where.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: tuple[Any, Any] | Iterable,
        *,
        matrix: str = "hessian",
        check: bool = True,
        **options: Any,
    ) -> None:
        self._begin(Problem.of(model, loss, data, check=check, **options), matrix, check)

    @classmethod
    def on(cls, problem: Problem, matrix: str = "hessian", *, check: bool = True) -> Operator:
        """Build from what several operators share."""
        operator = cls.__new__(cls)
        operator._begin(problem, matrix, check)
        return operator

    @neutral()
    def _begin(self, problem: Problem, matrix: str, check: bool) -> None:
        if matrix not in PRODUCTS:
            raise ValueError(f"matrix: {matrix!r} is none of {', '.join(PRODUCTS)}")
        self.problem, self.matrix, self.products = problem, matrix, 0
        self.size, self.names = problem.size, problem.names
        self.dtype, self.device = problem.dtype, problem.device
        self._check = check
        first = next(iter(problem.batches()))
        try:
            self._programs: dict[Hashable, Program] | None = {
                _shapes(first): _program(problem, matrix, first)
            }
        except Exception as error:
            if out_of_memory(error):
                raise
            with refuse("the network or the loss cannot be differentiated twice"):
                require_second_derivatives(problem, first)
                backward_twice(problem, matrix, first, problem.parameters)
            logger.warning(
                "products by two backward passes each, which is slower: %s", first_line(error)
            )
            self._programs = None
        # One batch is always at work, so one fewer is kept where not all fit.
        fits = problem.samples.count <= problem.chunk
        self._room = problem.chunk if fits else problem.chunk - problem.batch
        self._kept: list[Callable[[Parts], Tensor]] = []
        self._all_kept = False

    def normal(self, generator: torch.Generator) -> Tensor:
        """Draw a standard normal vector (P,)."""
        return torch.randn(self.size, generator=generator, dtype=self.dtype, device=self.device)

    def signs(self, generator: torch.Generator, rows: int) -> Tensor:
        """Draw random signs (rows, P)."""
        shape = (rows, self.size)
        bits = torch.randint(2, shape, generator=generator, device=self.device)
        return (2 * bits - 1).to(self.dtype)

    @neutral()
    def __call__(self, vectors: Tensor) -> Tensor:
        """Multiply one vector (P,) or several (k, P), in one pass over the samples.

        Raises
        ------
        FloatingPointError
            If a product isn't finite; names the first layer affected.
        RuntimeError
            If the same product comes out differently: something in the model is random, or its
            code reads what is no part of it and changed since another network's product was traced.
        UnsupportedError
            If the matrix is not symmetric, or a data loader gives other batches than at first.
        """
        rows = vectors.reshape(-1, self.size)
        out = torch.zeros_like(rows)
        self.products += len(rows)
        with torch.no_grad():
            for multiply in self._batches():
                for row, total in zip(rows, out, strict=True):
                    total += multiply(self.problem.split(row))
                    if self.problem.progress:
                        self.problem.progress()
        for total in out:
            require_finite(self.names, self.problem.split(total), f"{self.matrix} product")
        return out.view_as(vectors)

    def _batches(self) -> Iterable[Callable[[Parts], Tensor]]:
        """Give each batch's part of the matrix as a map from vector parts to a product (P,)."""
        if self._all_kept:
            yield from self._kept
            return
        i = -1
        for i, batch in enumerate(self.problem.batches()):
            if i < len(self._kept):
                yield self._kept[i]
                continue
            multiply = self._linearised(batch)
            if self._check:
                self._check = False
                self._try(multiply, batch)
            rows = int((batch[2] > 0).sum())  # those of weight zero fill a batch up
            if i == len(self._kept) and rows <= self._room:
                self._room -= rows
                self._kept.append(multiply)
            yield multiply
        self._all_kept = len(self._kept) == i + 1

    def _linearised(self, batch: Batch) -> Callable[[Parts], Tensor]:
        if self._programs is None:
            return lambda parts: _flat(backward_twice(self.problem, self.matrix, batch, parts))
        shapes = _shapes(batch)
        if shapes not in self._programs:
            with torch.enable_grad():
                self._programs[shapes] = _program(self.problem, self.matrix, batch)
        linearise, apply = self._programs[shapes]
        saved = linearise(*_given(self.problem), *_tensors(batch))
        return lambda parts: apply(*saved, *parts)

    def blocks_vanish(self) -> bool:
        """Whether no diagonal block (one per parameter tensor) depends on the vector at all.

        Read off the traced graph: block l vanishes where no path leads from part l of the vector to
        part l of the product. So it is for the residual of any network that is piecewise linear in
        each parameter tensor by itself (ReLU, pooling, batch norm in evaluation mode; no tensor
        used twice), which makes the Hessian's trace the Gauss-Newton matrix's (Botev et al. 2017,
        arXiv 1706.03662; Dangel et al. 2020, arXiv 1912.10985). A False may be false, a True not.
        """
        if self._programs is None:
            return False
        nodes = list(next(iter(self._programs.values()))[1].graph.nodes)
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

    def _try(self, multiply: Callable[[Parts], Tensor], batch: Batch) -> None:
        """Hold a batch's product against one computed anew, and its form against the transposed."""
        problem = self.problem
        generator = torch.Generator(self.device).manual_seed(0)
        v, w = (self.normal(generator) for _ in range(2))
        hv, hw = (multiply(problem.split(u)) for u in (v, w))
        if not (hv.isfinite().all() and hw.isfinite().all()):
            return  # named by layer elsewhere
        require_symmetry(problem, self.matrix, batch, v, w, hv, hw)
        if self._programs is None:
            return
        size = (hv.norm() + hw.norm()) / 2
        anew = _flat(backward_twice(problem, self.matrix, batch, problem.split(v)))
        apart = (hv - anew).norm()
        if apart > torch.finfo(self.dtype).eps ** (1 / 3) * size and not _is_rounding(
            problem, batch
        ):
            raise RuntimeError(
                f"the {self.matrix} product of one probe came out differently the second time "
                f"(relative difference {float(apart / size):.1e}): something in the model or loss "
                "is random, or changed between two networks though it is part of neither"
            )


def require_symmetry(
    problem: Problem, matrix: str, batch: Batch, v: Tensor, w: Tensor, hv: Tensor, hw: Tensor
) -> None:
    """Raise UnsupportedError where v'(Hw) and w'(Hv) differ, if not by the loss's rounding."""
    try:
        _require_symmetry(matrix, v, w, hv, hw)
    except UnsupportedError:
        if not _is_rounding(problem, batch):
            raise


def _is_rounding(problem: Problem, batch: Batch) -> bool:
    """Whether a loss's second derivative is not symmetric here, for want of digits, but elsewhere.

    So it is where 1 - p is below float64's resolution of one: `CurvatureResult.resolved` says so.
    """
    x, y, weights = batch
    here = problem.outputs(problem.parameters, x).detach().double()
    generator = torch.Generator(problem.device).manual_seed(0)

    def symmetric(outputs: Tensor) -> bool:
        v, w = (
            torch.randn(
                outputs.shape, generator=generator, dtype=torch.float64, device=problem.device
            )
            for _ in range(2)
        )
        with torch.enable_grad():
            z = outputs.clone().requires_grad_()
            slope = gradients([problem.total(z, y, weights)], [z])
            hv, hw = (gradients([_along(slope, [u])], [z])[0].flatten() for u in (v, w))
        try:
            _require_symmetry("loss", v.flatten(), w.flatten(), hv, hw)
        except UnsupportedError:
            return False
        return True

    other = torch.randn(here.shape, generator=generator, dtype=here.dtype, device=problem.device)
    return not symmetric(here) and symmetric(other)


def _require_symmetry(matrix: str, v: Tensor, w: Tensor, hv: Tensor, hw: Tensor) -> None:
    """Raise UnsupportedError where v'(Hw) and w'(Hv) differ by more than rounding."""
    size = (hv.norm() + hw.norm()) / 2
    apart = (v @ hw - w @ hv).abs()
    if apart > torch.finfo(v.dtype).eps ** (1 / 3) * size > 0:
        raise UnsupportedError(
            f"the {matrix} is not symmetric (v'Hw and w'Hv are {float(apart / size):.1e} apart): "
            "part of the network or loss is computed without gradients (no_grad), or a derivative "
            "written by hand is wrong"
        )


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _given(problem: Problem) -> Parts:
    """Return what a program takes from a network."""
    return *problem.parameters, *problem.buffers


def _tensors(batch: Batch) -> list[Tensor]:
    return [t for t in tree_leaves(batch) if isinstance(t, Tensor)]


def _shapes(batch: Batch) -> Hashable:
    """Describe all that a program depends on in a batch but for its tensors' values."""
    leaves, tree = tree_flatten(batch)
    about = [
        (t.shape, t.stride(), t.dtype, t.device) if isinstance(t, Tensor) else repr(t)
        for t in leaves
    ]
    return str(tree), *about


def _program(problem: Problem, matrix: str, batch: Batch) -> Program:
    """Trace a product, or take the program of the last problem that differed in tensors' values."""
    shapes = [(t.shape, t.stride(), t.dtype, t.device) for t in _given(problem)]
    if not isinstance(problem.loss, nn.Module):
        return _traced(problem, matrix, batch)
    about = structure(problem.model), structure(problem.loss)
    if None in about or [*problem.loss.parameters(), *problem.loss.buffers()]:
        return _traced(problem, matrix, batch)
    key = (matrix, about, problem.keys, problem.buffer_keys, _shapes(batch), *shapes)
    # Taken out and put in again: the first is then the one that was not used for longest.
    program = _programs.pop(key, None) or _traced(problem, matrix, batch)
    if len(_programs) == MOST_PROGRAMS:
        del _programs[next(iter(_programs))]
    _programs[key] = program
    return program


def _traced(problem: Problem, matrix: str, batch: Batch) -> Program:
    """Trace a product on one batch; return its part without the vector, and the linear rest.

    The first maps (*parameters, *buffers, *the batch's tensors) to saved tensors, the second maps
    (*saved, *vector parts) to the flat product (P,).
    """
    count = len(problem.parameters)
    given, tensors = _given(problem), _tensors(batch)
    leaves, tree = tree_flatten(batch)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def product(*args: Tensor) -> Tensor:
        parameters, buffers, rest = args[:count], args[count : len(given)], args[len(given) :]
        filled = list(leaves)
        for i, tensor in zip(places, rest, strict=False):
            filled[i] = tensor
        same = replace(problem, buffers=buffers)
        x, y, w = tree_unflatten(filled, tree)
        vector = rest[len(tensors) :]
        return _flat(PRODUCTS[matrix](same, parameters, x, y, w, tuple(vector)))

    # Distinct tensors: the tracer knows its arguments by identity.
    vector = tuple(torch.ones_like(p) for p in problem.parameters)
    root, whole = record(product, (*given, *tensors, *vector))
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

    first = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
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
