"""Curvature of the loss surface at a set of weights.

The package itself can be called: ``curvature(model, loader)`` is `measure`.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from .api import Curvature, measure
from .density import Density, density
from .lanczos import Ritz, lanczos
from .operators import Operator
from .prepare import UnsupportedError
from .problem import Problem
from .results import CurvatureResult, Eigenvalue, Scalar
from .settings import Settings
from .trace import hutchpp

__all__ = [
    "Curvature",
    "CurvatureResult",
    "Density",
    "Eigenvalue",
    "Operator",
    "Problem",
    "Ritz",
    "Scalar",
    "Settings",
    "UnsupportedError",
    "density",
    "estimate",
    "hutchpp",
    "lanczos",
    "measure",
]


def estimate(
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings,
    seed: int,
) -> CurvatureResult:
    """Curvature of the mean loss over a fixed sample set.

    PyHessian knows the Hessian alone: the trace of the Gauss-Newton matrix and the adaptive
    sharpness beside it are the engine's, as the result says.

    Parameters
    ----------
    model
        Classifier (N, C, H, W) -> (N, K). A copy in evaluation mode is used (batch norm on its
        running statistics, dropout off); the caller's mode and gradients stay as they were.
    loss
        Module (logits (N, K), labels (N,)) -> per-sample losses (N,).
    inputs, labels
        (N, C, H, W) floating and (N,) int64; their device is where the work is done.
    settings
        How to estimate.
    seed
        Of the probes.

    Raises
    ------
    ValueError
        For a device that the estimator can't use.
    UnsupportedError
        A ValueError: the curvature cannot be computed; one line says why, and in which layer.
    FloatingPointError
        For a non-finite gradient or product; names the first layer affected.
    KernelError
        If a convolution's gradient is wrong on this machine, or the gradient's is.
    """
    # Imported here so that the engine does not need PyHessian.
    from . import engine

    problem = engine.problem_of(model, loss, inputs, labels, settings)
    if settings.estimator == "engine":
        return engine.estimate_of(problem, settings, seed)
    from .pyhessian_adapter import estimate_of

    result = estimate_of(problem, settings, seed)
    return engine.with_gauss_newton(result, problem, settings)


class _Called(ModuleType):
    """The package, which is a function too."""

    __signature__ = inspect.signature(measure)

    def __call__(self, *args: Any, **options: Any) -> Curvature:
        """Call `measure`."""
        return measure(*args, **options)


# The language's own way to make more of a module (Reference, 3.3.2.1): ``from focal_curvature
# import curvature`` gives the package once any part of it was imported: it has to be callable.
sys.modules[__name__].__class__ = _Called
