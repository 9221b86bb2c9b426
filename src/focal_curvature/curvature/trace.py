"""Traces and Frobenius norms: exact where structure allows, else with a standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import hessian, vjp, vmap
from torch.linalg import vector_norm
from torch.utils._pytree import tree_map, tree_map_only

from . import by_sample, dense
from .adaptive import adaptive
from .operators import Operator
from .prepare import UnsupportedError, neutral, refuse
from .problem import Problem
from .results import Scalar

LARGEST = 2**26  # numbers in the per-sample gradients, or loss Hessians, of one pass
MOST_OUTPUTS = 4096  # of a sample, whose loss Hessian is a matrix


def hutchpp(
    operator: Operator,
    generator: torch.Generator,
    *,
    basis: Tensor | None = None,
    images: Tensor | None = None,
    squared: bool = False,
    budget: int = 100,
    relative_error: float = 0.01,
) -> Scalar:
    """Trace, or squared Frobenius norm, exact on a subspace and sampled on the rest.

    Hutch++ (Meyer et al. 2021, arXiv 2010.09649) for any orthonormal basis Q:
    tr A = tr Q'AQ + E v'(I - QQ')A(I - QQ')v over random signs v; without a basis Hutchinson's
    estimator. The basis of a Lanczos run serves, at no further product, since outlying eigenvalues
    carry most of the variance.

    Parameters
    ----------
    operator : Operator
        The matrix.
    generator : torch.Generator
        Of the probes, on the operator's device.
    basis, images : Tensor, optional
        Q', (m, P), and the operator's products with its rows.
    squared : bool
        Estimate tr A'A.
    budget : int
        Most probes, two at least.
    relative_error : float
        Requested standard error over |estimate|.
    """
    before = operator.products
    samples = hutchpp_blocks(
        operator, generator, basis=basis, images=images, squared=squared, budget=budget,
        relative_error=relative_error,
    )  # fmt: skip
    return Scalar.of(samples.sum(1).tolist(), operator.products - before, relative_error)


@neutral()
def hutchpp_blocks(
    operator: Operator,
    generator: torch.Generator,
    *,
    basis: Tensor | None = None,
    images: Tensor | None = None,
    squared: bool = False,
    budget: int,
    relative_error: float,
    offset: float = 0.0,
) -> Tensor:
    """Sample as `hutchpp`, by parameter tensor: (samples, L) float64, the exact part in each.

    ``offset`` is a known number that the trace is added to; the requested error is that of the sum.
    """
    blocks = operator.problem.blocks
    exact = torch.zeros(1, len(operator.names), dtype=torch.float64, device=operator.device)
    if basis is not None and images is not None:
        forms = basis * images
        if squared:
            # |AQ|^2 + |QQ'A(I - QQ')|^2: a symmetric matrix's off-diagonal block counts twice.
            forms = 2 * _squares(images) - _squares((basis @ images.T) @ basis)
        exact = blocks(forms).sum(0, keepdim=True)

    def draw(n: int) -> Tensor:
        probes = operator.signs(generator, n)
        if basis is not None:
            probes = probes - (probes @ basis.T) @ basis
        products = operator(probes)
        if squared:
            if basis is not None:
                products = products - (products @ basis.T) @ basis
            return blocks(_squares(products)) + exact
        return blocks(probes * products) + exact

    return adaptive(draw, budget=budget, relative_error=relative_error, offset=offset)


def _squares(numbers: Tensor) -> Tensor:
    return numbers.double().square()  # which may be below the range of float32


def summed(samples: Tensor, products: int, relative_error: float) -> Scalar:
    """Estimate from samples (n,); a single one is an exact value."""
    if len(samples) == 1:
        return Scalar.exact(float(samples[0]), products)
    return Scalar.of(samples.tolist(), products, relative_error)


def residual_traces(
    operator: Operator,
    generator: torch.Generator,
    offset: float,
    *,
    budget: int,
    relative_error: float,
) -> tuple[Scalar, tuple[Scalar, ...]]:
    """Estimate the traces of the residual's diagonal blocks, by parameter tensor, and their sum.

    They are zero where the blocks vanish by the structure of the network; else they come from
    `by_sample.traces`, or where `torch.func.vmap` cannot take the network from Hutchinson's
    estimator.

    Parameters
    ----------
    operator : Operator
        The residual.
    generator : torch.Generator
        Of the probes.
    offset : float
        Trace of the Gauss-Newton matrix: the requested error is relative to the sum.
    budget : int
        Most probes.
    relative_error : float
        Requested standard error of the sum over its absolute value.

    Returns
    -------
    total : Scalar
    layers : tuple of Scalar
        By parameter tensor.
    """
    problem = operator.problem
    if operator.blocks_vanish():
        zero = Scalar.exact(0.0, 0)
        return zero, (zero,) * len(operator.names)
    limits: dict[str, Any] = {
        "budget": budget,
        "relative_error": relative_error,
        "offset": offset,
    }
    try:
        return by_sample.traces(problem, generator, **limits)
    except UnsupportedError:
        made = hutchpp_blocks(operator, generator, **limits)
    total, *layers = (summed(row, len(made), relative_error) for row in (made.sum(1), *made.T))
    return total, tuple(layers)


@dataclass(frozen=True)
class GaussNewtonTrace:
    """Traces of the Gauss-Newton matrix and of |theta| G |theta|, by parameter tensor.

    Attributes
    ----------
    layers, scaled : Tensor
        (samples, L) float64: per parameter tensor, tr G_ll and sum_i theta_i^2 G_ii. One sample if
        exact.
    passes : int
        Backward passes through the whole sample set.
    resolved : bool
        Whether float64 resolves the loss's curvature in the outputs; see `CurvatureResult`.
    """

    layers: Tensor
    scaled: Tensor
    passes: int
    resolved: bool

    def extras(self, relative_error: float) -> dict[str, Any]:
        """Return what `CurvatureResult` says of this pass beside its trace."""
        return {
            "adaptive_sharpness": summed(self.scaled.sum(1), self.passes, relative_error),
            "gauss_newton_estimator": "engine",
            "resolved": self.resolved,
        }


@neutral()
def gauss_newton_trace(
    problem: Problem, generator: torch.Generator, *, budget: int, relative_error: float
) -> GaussNewtonTrace:
    """Trace of the Gauss-Newton matrix from per-sample gradients.

    With the spectral decomposition d2 loss / d outputs2 = sum_c lambda_c u_c u_c' of each sample,
    tr G = mean_n sum_c lambda_nc |J_n' u_nc|^2: one backward pass per eigenvector, exact. Where
    that is more than ``budget`` passes, random signs mix the eigenvectors of one sign within each
    sample: unbiased, and the average over samples makes the variance small.

    Raises
    ------
    UnsupportedError
        If `torch.func.vmap` cannot take the network or the loss, or a sample has more than 4096
        outputs.
    FloatingPointError
        If the loss's Hessian is not finite.
    """
    roots = _Roots(problem)
    with torch.no_grad():
        # Softmax losses don't see a constant added to all logits, so one root is always nothing.
        largest = torch.stack([root.norm(dim=2).amax(0) for _, _, root, _ in roots()]).amax(0)
    used = largest > 1e-6 * largest.max()
    used[0] = True  # also where the loss has no curvature at all
    exact = int(used.sum()) <= budget
    indefinite, is_dense = False, dense.applies(problem)

    def norms(x: Any, cotangents: Tensor) -> Tensor:
        """|J'c|^2 and |theta J'c|^2 per cotangent c and parameter tensor: (2, m, L)."""

        def outputs(*p: Tensor) -> Tensor:
            return problem.outputs(p, tree_map_only(Tensor, lambda t: t[None], x))[0].flatten()

        pull = vjp(outputs, *problem.parameters)[1]
        rows = []
        for c in cotangents:
            parts = pull(c)
            weighted = [g * p for g, p in zip(parts, problem.parameters, strict=True)]
            rows.append(
                torch.stack([torch.stack([vector_norm(g) for g in s]) for s in (parts, weighted)])
            )
        return torch.stack(rows, 1).square()

    def total(n: int, mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Weighted sums (n, 2, L) over samples of what ``mix`` makes of the roots, n at a time."""
        out = torch.zeros((), dtype=torch.float64, device=problem.device)
        for x, w, root, sign in roots():
            cotangents, signs = mix(root[:, used], sign[:, used])
            cotangents = cotangents.to(problem.dtype)
            if is_dense:
                squares = dense.squared_norms(problem, x, cotangents)
            else:
                axes = tree_map(lambda t: 0 if isinstance(t, Tensor) else None, x)
                with refuse("no gradients by sample"):
                    squares = vmap(norms, (axes, 0))(x, cotangents).double()
            sums = torch.einsum("nsml,nm,n->msl", squares, signs, w)
            out = out + sums.unflatten(0, (-1, n)).sum(0)
        return out

    with torch.no_grad():
        if exact:
            layers, scaled = total(1, lambda root, sign: (root, sign)).unbind(1)
            return GaussNewtonTrace(layers, scaled, int(used.sum()), roots.resolved)

        def draw(n: int) -> Tensor:
            def mix(root: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
                nonlocal indefinite
                shape = (len(root), n, root.shape[1])
                bits = torch.randint(2, shape, generator=generator, device=root.device).double()
                both = bool((sign < 0).any())
                indefinite |= both
                # Those of the other sign are subtracted, where there are any.
                mixed = [
                    torch.einsum("nmc,nck->nmk", (2.0 * bits - 1) * (sign == s)[:, None], root)
                    for s in ((1, -1) if both else (1,))
                ]
                signs = torch.ones(len(root), n, device=root.device, dtype=torch.float64)
                return torch.cat(mixed, 1), torch.cat([signs, -signs], 1)[:, : n * len(mixed)]

            return total(n, mix)

        def first(n: int) -> Tensor:
            draws.append(draw(n))
            return draws[-1][:, 0]

        draws: list[Tensor] = []
        adaptive(first, budget=budget, relative_error=relative_error)
        layers, scaled = torch.cat(draws).unbind(1)
    return GaussNewtonTrace(layers, scaled, len(layers) * (1 + indefinite), roots.resolved)


class _Roots:
    """Each sample's roots of the loss's Hessian in the outputs, kept where they are not many.

    Attributes
    ----------
    resolved : bool
        See `CurvatureResult`; good after the first pass.
    """

    def __init__(self, problem: Problem) -> None:
        outputs = sum(shape.numel() for shape in problem.shapes)
        if outputs > MOST_OUTPUTS:
            raise UnsupportedError(f"{outputs} outputs a sample are too many for their matrix")
        self.problem = problem
        self.size = max(1, min(problem.batch, LARGEST // max(problem.size, outputs**2)))
        self.keep = problem.samples.count * outputs**2 <= LARGEST
        self.kept: list[tuple[Any, Tensor, Tensor, Tensor]] = []
        self.curvature = self.lost = 0.0

    def __call__(self) -> Iterator[tuple[Any, Tensor, Tensor, Tensor]]:
        """Give each batch's inputs, weights (n,), roots (n, K, K) and their signs (n, K)."""
        if self.kept:
            yield from self.kept
            return
        for x, y, w in self.problem.batches(self.size):
            made = x, w, *self._roots(x, y, w)
            if self.keep:
                self.kept.append(made)
            yield made

    def _roots(self, x: Any, y: Any, w: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled eigenvectors sqrt|lambda| u, rows in falling |lambda|, and signs, in float64."""
        problem = self.problem
        outputs = problem.outputs(problem.parameters, x).double()
        shape = outputs.shape[1:]

        def loss(z: Tensor, target: Any) -> Tensor:
            one = tree_map_only(Tensor, lambda t: t[None], target)
            return problem.losses(z.view(1, *shape), one).sum()

        flat = outputs.flatten(1)
        with refuse("no Hessian of the loss by sample"):
            axes = tree_map(lambda t: 0 if isinstance(t, Tensor) else None, y)
            curvature = vmap(hessian(loss), (0, axes))(flat, y)
        if not curvature.isfinite().all():  # eigh would fail in words of its own
            raise FloatingPointError("non-finite Hessian of the loss in the outputs")
        # What does not change with a constant added to all logits has rows that sum to zero, and
        # they do as long as float64 tells 1 - p from nothing.
        other = torch.linspace(-1, 1, flat.numel(), device=flat.device).double().view_as(outputs)
        here, there = (problem.losses(z, y) for z in (other, other + 1))
        self.invariant = torch.allclose(here, there, rtol=1e-9)
        self.curvature += float(w @ curvature.flatten(1).norm(dim=1))
        self.lost += float(w @ curvature.sum(2).norm(dim=1))
        values, vectors = torch.linalg.eigh(curvature)
        order = values.abs().argsort(dim=1, descending=True)
        values = values.gather(1, order)
        vectors = vectors.transpose(1, 2).gather(1, order[:, :, None].expand_as(vectors))
        return vectors * values.abs().sqrt()[:, :, None], values.sign()

    @property
    def resolved(self) -> bool:
        small = self.problem.dtype == torch.float32 and 0 < self.curvature < 1e-35
        return not ((self.invariant and self.lost >= 0.01 * self.curvature) or small)
