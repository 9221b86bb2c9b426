"""Traces and Frobenius norms: exact where structure allows, else with a standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import hessian, vjp, vmap

from .operators import Operator, rademacher
from .problem import Problem
from .results import Scalar

PILOT = 8
LARGEST = 2**26  # numbers in the per-sample gradients of one pass: 256 MB in float32


def adaptive(
    draw: Callable[[int], Tensor],
    *,
    budget: int,
    relative_error: float,
    offset: float = 0.0,
) -> Tensor:
    """Draw samples until the standard error of their mean is small enough, or the budget is spent.

    Parameters
    ----------
    draw : callable
        n -> (n, ...) independent samples; those of the quantity itself are the sums over the
        trailing dimensions.
    budget : int
        Most samples.
    relative_error : float
        Requested standard error over |offset + mean|.
    offset : float
        Exactly known part of the quantity.

    Notes
    -----
    After a pilot the number needed is computed from the spread so far and drawn at most at double
    the samples held, so that a lucky pilot can't end the run nor an unlucky one overrun it by much.
    """
    samples = draw(min(PILOT, budget))
    while len(samples) < budget:
        totals = samples.reshape(len(samples), -1).sum(1).double()
        target = relative_error * abs(offset + float(totals.mean()))
        needed = math.ceil(min(float(totals.var()) / target**2, budget)) if target else budget
        if needed <= len(samples):
            break
        samples = torch.cat([samples, draw(min(needed, 2 * len(samples), budget) - len(samples))])
    return samples


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
        Most probes.
    relative_error : float
        Requested standard error over |estimate|.
    """
    exact = 0.0
    if basis is not None:
        exact = float((images if squared else basis).mul(images).sum(dtype=torch.float64))
        if squared:
            # |AQ|^2 + |QQ'A(I - QQ')|^2: a symmetric matrix's off-diagonal block counts twice.
            inner = float((basis @ images.T).square().sum(dtype=torch.float64))
            exact = 2 * exact - inner
    before = operator.products

    def draw(n: int) -> Tensor:
        probes = rademacher(operator.problem, generator, n)
        if basis is not None:
            probes = probes - (probes @ basis.T) @ basis
        products = operator(probes)
        if squared:
            if basis is not None:
                products = products - (products @ basis.T) @ basis
            probes = products
        return (probes * products).sum(1, dtype=torch.float64)

    samples = adaptive(draw, budget=budget, relative_error=relative_error, offset=exact) + exact
    return Scalar.of(samples.tolist(), operator.products - before, relative_error)


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
) -> Tensor:
    """Sample the traces of the residual's diagonal blocks, by parameter tensor.

    Parameters
    ----------
    operator : Operator
        The residual. Without products if its diagonal blocks vanish by its structure.
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
    Tensor
        (samples, L) float64; one sample, of zeros, if exact.
    """
    problem = operator.problem
    if operator.blocks_vanish():
        return torch.zeros(1, len(problem.names), dtype=torch.float64)

    def draw(n: int) -> Tensor:
        probes = rademacher(problem, generator, n)
        forms = (probes * operator(probes)).split([p.numel() for p in problem.parameters], 1)
        return torch.stack([f.sum(1, dtype=torch.float64) for f in forms], 1)

    return adaptive(draw, budget=budget, relative_error=relative_error, offset=offset)


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
    """

    layers: Tensor
    scaled: Tensor
    passes: int


def gauss_newton_trace(
    problem: Problem, generator: torch.Generator, *, budget: int, relative_error: float
) -> GaussNewtonTrace:
    """Trace of the Gauss-Newton matrix from per-sample gradients.

    With the spectral decomposition d2 loss / d logits2 = sum_c lambda_c u_c u_c' of each sample,
    tr G = mean_n sum_c lambda_nc |J_n' u_nc|^2: one backward pass per eigenvector, exact. Where
    that is more than ``budget`` passes, random signs mix the eigenvectors of one sign within each
    sample: unbiased, and the average over samples makes the variance small.
    """
    small = max(1, min(problem.batch, LARGEST // problem.size))
    batches = problem.batches(small)
    with torch.no_grad():
        roots = [_loss_roots(problem, x, y) for x, y, _ in batches]
    # Softmax losses don't see a constant added to all logits, so one root is always nothing.
    largest = torch.stack([r.norm(dim=2).amax(0) for r, _ in roots]).amax(0)
    used = largest > 1e-6 * largest.max()
    used[0] = True  # also where the loss has no curvature at all
    exact = int(used.sum()) <= budget

    def norms(x: Tensor, cotangents: Tensor) -> Tensor:
        """|J'c|^2 and |theta J'c|^2 per cotangent c and parameter tensor: (2, m, L)."""
        _, pull = vjp(lambda *p: problem.logits(p, x[None])[0], *problem.parameters)
        rows = []
        for c in cotangents:
            parts = pull(c)
            weighted = [g * p for g, p in zip(parts, problem.parameters, strict=True)]
            rows.append(
                torch.stack([torch.stack([g.square().sum() for g in s]) for s in (parts, weighted)])
            )
        return torch.stack(rows, 1)

    def total(mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Weighted sums (2, m, L) over samples of what ``mix`` makes of the roots."""
        out = 0.0
        for (x, _, w), (root, sign) in zip(batches, roots, strict=True):
            cotangents, signs = mix(root[:, used], sign[:, used])
            found = vmap(norms)(x, cotangents.to(x.dtype)).double()
            out = out + torch.einsum("nsml,nm,n->sml", found, signs, w.double())
        return out

    with torch.no_grad():
        if exact:
            layers, scaled = total(lambda root, sign: (root, sign)).sum(1, keepdim=True)
            return GaussNewtonTrace(layers, scaled, int(used.sum()))
        indefinite = any(bool((s[:, used] < 0).any()) for _, s in roots)

        def draw(n: int) -> Tensor:
            def mix(root: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
                shape = (len(root), n, root.shape[1])
                bits = torch.randint(2, shape, generator=generator, device=root.device).double()
                mixed = [
                    torch.einsum("nmc,nck->nmk", (2.0 * bits - 1) * (sign == s)[:, None], root)
                    for s in ([1, -1] if indefinite else [1])
                ]
                signs = torch.ones(len(root), n, device=root.device, dtype=torch.float64)
                return torch.cat(mixed, 1), torch.cat([signs, -signs], 1)[:, : n * len(mixed)]

            found = total(mix)
            return found.unflatten(1, (-1, n)).sum(1).transpose(0, 1)

        def first(n: int) -> Tensor:
            both.append(draw(n))
            return both[-1][:, 0]

        both: list[Tensor] = []
        adaptive(first, budget=budget, relative_error=relative_error)
        layers, scaled = torch.cat(both).unbind(1)
    return GaussNewtonTrace(layers, scaled, len(layers) * (1 + indefinite))


def _loss_roots(problem: Problem, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled eigenvectors sqrt|lambda| u and signs of each sample's loss Hessian at its logits.

    Returns (n, K, K), rows the vectors in falling |lambda|, and (n, K), both float64.
    """
    logits = problem.logits(problem.parameters, x).double()
    curvature = vmap(hessian(lambda z, t: problem.loss(z[None], t[None])[0]))(logits, y)
    if not curvature.isfinite().all():  # eigh would fail in words of its own
        raise FloatingPointError("non-finite Hessian of the loss in the logits")
    values, vectors = torch.linalg.eigh(curvature)
    order = values.abs().argsort(dim=1, descending=True)
    values = values.gather(1, order)
    vectors = vectors.transpose(1, 2).gather(1, order[:, :, None].expand_as(vectors))
    return vectors * values.abs().sqrt()[:, :, None], values.sign()
