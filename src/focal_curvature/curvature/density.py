"""Spectral density by stochastic Lanczos quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .lanczos import lanczos
from .operators import Operator
from .results import Scalar


@dataclass(frozen=True)
class Density:
    """Quadrature of the spectral density, one rule per probe.

    Attributes
    ----------
    nodes, weights : ndarray
        (probes, m): eigenvalue estimates, in units of the loss, and their shares of the spectrum;
        the weights of a probe sum to one. Rules that ended early are filled up with weight zero.
    trace : Scalar
        First moment times P: v'Av of each probe, an unbiased trace to hold against another one.
    square : Scalar
        Second moment times P: the squared Frobenius norm, |Av|^2 of each probe.
    """

    nodes: np.ndarray
    weights: np.ndarray
    trace: Scalar
    square: Scalar


def density(
    operator: Operator, generator: torch.Generator, *, probes: int = 4, steps: int = 80
) -> Density:
    """Estimate the spectral density (Ghorbani et al. 2019, arXiv 1901.10159).

    Parameters
    ----------
    operator : Operator
        The matrix.
    generator : torch.Generator
        Of the probes.
    probes : int
        Independent starts, two at least. They cost ``steps`` products each.
    steps : int
        Nodes per probe: the rule is exact for polynomials of degree 2 steps - 1.
    """
    nodes, weights = np.zeros((2, probes, steps))
    before = operator.products
    for i, start in enumerate(operator.signs(generator, probes)):
        ritz = lanczos(operator, start, max_iterations=steps)
        nodes[i, : len(ritz.values)] = ritz.values.cpu()
        weights[i, : len(ritz.values)] = ritz.weights.cpu()
    products = operator.products - before
    return Density(
        nodes,
        weights,
        Scalar.of((operator.size * (weights * nodes).sum(1)).tolist(), products),
        Scalar.of((operator.size * (weights * nodes**2).sum(1)).tolist(), products),
    )
