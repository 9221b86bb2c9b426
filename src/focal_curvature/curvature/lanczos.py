"""Lanczos iteration: extreme eigenvalues with their residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .prepare import neutral
from .results import Eigenvalue

# The pair after the last wanted one must reach this many tolerances.
GUARD = 10
FIRST = 16  # products that there is room for at first

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ritz:
    """What Lanczos found.

    Attributes
    ----------
    eigenvalues : tuple of Eigenvalue
        The algebraically largest, in falling order.
    vectors : Tensor
        (k, P), of unit length, in the same order.
    values : Tensor
        (m,) float64: all Ritz values, in rising order.
    weights : Tensor
        (m,) float64: squared first components; with ``values`` a quadrature rule for the start.
    basis, images : Tensor
        (m, P): the Krylov space's orthonormal basis and what the operator made of it.
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
    """Run Lanczos with full reorthogonalisation.

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
        Most products; at most P are ever needed. Memory is at most 4 P numbers per product made,
        and 6 P while it grows.

    Notes
    -----
    Residuals are those of the Ritz vectors themselves (their images are at hand, so that they cost
    no further product), not the recurrence's estimate, which rounding makes too small.

    A small residual says that *some* eigenvalue is near. A start that happens to be almost
    orthogonal to the top eigenvector can settle on the second one first (3 of 60 starts on a small
    trained network); then the next Ritz value is still on its way up to the top. Hence the
    iteration goes on until that one has settled too (0 of 60, at no more products in the median).
    """
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
        gaps = (wanted @ image - theta.to(space.dtype)[:, None] * (wanted @ space)).norm(
            dim=1,
            dtype=torch.float64,  # squares of small ones are below the range of float32
        )
        relative = gaps / theta.abs().clamp(min=torch.finfo(torch.float64).tiny)
        met = relative <= tolerance
        settled = met[:k].all() and (m == len(q) or (m > k and relative[k] <= GUARD * tolerance))
        rest = image[-1] - (space @ image[-1]) @ space
        rest = rest - (space @ rest) @ space  # twice is enough
        size = rest.norm(dtype=torch.float64)
        exhausted = size <= torch.finfo(q.dtype).eps * values.abs().max() * m or m == len(q)
        if settled or m == max_iterations or exhausted:
            break
        q = rest / size
    return Ritz(
        eigenvalues=tuple(
            # A zero eigenvalue with a zero residual is exact.
            Eigenvalue(t, g / abs(t) if t else 0.0, m, m, done)
            for t, g, done in list(zip(theta.tolist(), gaps.tolist(), met.tolist(), strict=True))[
                :k
            ]
        ),
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
