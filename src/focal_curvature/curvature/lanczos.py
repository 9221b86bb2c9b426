"""Lanczos iteration: extreme eigenvalues with their residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .prepare import neutral
from .results import Eigenvalue

# The pair after the last wanted one must reach this many tolerances.
GUARD = 10
SEED = 846_930_886  # of the starts after the first: none that a caller's seed would give again
FIRST = 16  # products that there is room for at first

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ritz:
    """What Lanczos found.

    Attributes
    ----------
    eigenvalues : tuple of Eigenvalue
        The algebraically largest, in falling order, one of them as often as its multiplicity.
    vectors : Tensor
        (k, P), of unit length, in the same order.
    values : Tensor
        (m,) float64: all Ritz values of the first start, in rising order.
    weights : Tensor
        (m,) float64: squared first components; with ``values`` a quadrature rule for the start.
    basis, images : Tensor
        (m, P): that Krylov space's orthonormal basis and what the operator made of it.
    """

    eigenvalues: tuple[Eigenvalue, ...]
    vectors: Tensor
    values: Tensor
    weights: Tensor
    basis: Tensor
    images: Tensor


@neutral()
def lanczos(
    operator: Map, start: Tensor, *, k: int = 1, tolerance: float = 0.0, max_iterations: int = 100
) -> Ritz:
    """Run Lanczos with full reorthogonalisation, and for several eigenvalues look for copies.

    Parameters
    ----------
    operator : callable
        Symmetric map (P,) -> (P,).
    start : Tensor
        (P,), not zero.
    k : int
        Largest eigenvalues wanted.
    tolerance : float
        Stop once |Av - theta v| <= tolerance * |theta| for all k. Zero runs to the limit, or until
        the Krylov space is exhausted.
    max_iterations : int
        Most products. Memory is at most 4 P numbers per product made, and 6 P while it grows.

    Notes
    -----
    Residuals are those of the Ritz vectors themselves (their images are at hand, so that they cost
    no further product), not the recurrence's estimate, which rounding makes too small.

    A small residual says that *some* eigenvalue is near. A start that happens to be almost
    orthogonal to the top eigenvector can settle on the second one first (3 of 60 starts on a small
    trained network); then the next Ritz value is still on its way up to the top. Hence the
    iteration goes on until that one has settled too (0 of 60, at no more products in the median).

    A Krylov space has one direction of each eigenspace: a multiple eigenvalue is seen once. Hence,
    for k > 1, new starts orthogonal to the pairs found, as long as they find an eigenvalue above
    the k-th (by more than the tolerance) and ``max_iterations`` allows.
    """
    ritz = _iterate(operator, start, k, tolerance, max_iterations)
    return ritz if k == 1 else _with_copies(operator, ritz, k, tolerance, max_iterations)


def _iterate(operator: Map, start: Tensor, k: int, tolerance: float, max_iterations: int) -> Ritz:
    """Run Lanczos from one start."""
    q = start / start.norm()
    m, most = 0, min(max_iterations, len(q))
    basis, images = (q.new_empty(min(FIRST, most), len(q)) for _ in range(2))
    forms = q.new_empty(most, most, dtype=torch.float64)
    while True:
        if m == len(basis):
            basis, images = (_twice_as_long(rows) for rows in (basis, images))
        basis[m], images[m] = q, operator(q)
        m += 1
        space, image = basis[:m], images[:m]
        forms[:m, m - 1], forms[m - 1, :m] = space @ image[-1], image @ q
        small = forms[:m, :m]
        values, vectors = torch.linalg.eigh((small + small.T) / 2)
        wanted = vectors[:, -k - 1 :].flip(1).T.to(space.dtype)
        theta = values[-k - 1 :].flip(0)
        relative = _residuals(theta, wanted @ space, wanted @ image)
        settled = (relative[:k] <= tolerance).all() and (
            m == len(q) or (m > k and relative[k] <= GUARD * tolerance)
        )
        rest = image[-1] - (space @ image[-1]) @ space
        rest = rest - (space @ rest) @ space  # twice is enough
        size = rest.norm(dtype=torch.float64)
        exhausted = size <= torch.finfo(q.dtype).eps * values.abs().max() * m or m == len(q)
        if settled or m == max_iterations or exhausted:
            break
        q = rest / size
    return Ritz(
        eigenvalues=_pairs(theta[:k], relative[:k], m, tolerance),
        vectors=wanted[:k] @ space,
        values=values,
        weights=vectors[0].square(),
        basis=space,
        images=image,
    )


def _twice_as_long(rows: Tensor) -> Tensor:
    longer = rows.new_empty(2 * len(rows), rows.shape[1])
    longer[: len(rows)] = rows
    return longer


def _with_copies(operator: Map, ritz: Ritz, k: int, tolerance: float, max_iterations: int) -> Ritz:
    """Add what starts orthogonal to the pairs find above the k-th, or while there are fewer."""
    pairs, vectors, products = ritz.eigenvalues, ritz.vectors, len(ritz.values)
    images = (vectors @ ritz.basis.T) @ ritz.images
    generator = torch.Generator(vectors.device).manual_seed(SEED)

    def outside(v: Tensor) -> Tensor:
        v = v - (vectors @ v) @ vectors
        return v - (vectors @ v) @ vectors  # twice is enough

    while products + 1 < max_iterations and len(vectors) < vectors.shape[1]:
        start = torch.randn(
            len(vectors[0]), generator=generator, dtype=vectors.dtype, device=vectors.device
        )
        other = _iterate(
            lambda v: outside(operator(v)),
            outside(start),
            1,
            tolerance,
            max_iterations - products - 1,
        )
        products += len(other.values)
        last = pairs[-1].estimate
        if len(pairs) == k and other.eigenvalues[0].estimate - last <= tolerance * abs(last):
            break
        new = outside(other.vectors[0])
        new = new / new.norm()
        products += 1
        vectors, images = torch.cat([vectors, new[None]]), torch.cat([images, operator(new)[None]])
        forms = (vectors @ images.T).double()
        theta, mixed = (part.flip(-1)[..., :k] for part in torch.linalg.eigh((forms + forms.T) / 2))
        mixed = mixed.T.to(vectors.dtype)
        vectors, images = mixed @ vectors, mixed @ images
        pairs = _pairs(theta, _residuals(theta, vectors, images), products, tolerance)
    pairs = tuple(replace(pair, iterations=products, products=products) for pair in pairs)
    return replace(ritz, eigenvalues=pairs, vectors=vectors)


def _residuals(theta: Tensor, vectors: Tensor, images: Tensor) -> Tensor:
    """Return |Av - theta v| / |theta|, at most the largest number: JSON has no infinity."""
    gaps = (images - theta.to(vectors.dtype)[:, None] * vectors).norm(
        dim=1,
        dtype=torch.float64,  # squares of small ones are below the range of float32
    )
    numbers = torch.finfo(torch.float64)
    return (gaps / theta.abs().clamp(min=numbers.tiny)).clamp(max=numbers.max)


def _pairs(
    theta: Tensor, relative: Tensor, products: int, tolerance: float
) -> tuple[Eigenvalue, ...]:
    return tuple(
        Eigenvalue(value, residual, products, products, residual <= tolerance)
        for value, residual in zip(theta.tolist(), relative.tolist(), strict=True)
    )
