"""Frozen result types: every number with its error, its cost and whether its target was met."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Eigenvalue:
    """One eigenvalue with its residual.

    Attributes
    ----------
    estimate
        Rayleigh quotient v'Av / v'v of the returned vector, in units of the loss.
    residual
        |Av - estimate v| / |estimate| for unit v, of the vector itself. Some eigenvalue lies
        within ``residual * |estimate|`` of the estimate.
    iterations
        Iterations of the method.
    products
        Operator products used, with PyHessian one more for the residual.
    converged
        Whether ``residual`` met the requested tolerance.
    """

    estimate: float
    residual: float
    iterations: int
    products: int
    converged: bool


@dataclass(frozen=True)
class Scalar:
    """An estimate of one number (a trace, a squared norm) with its standard error.

    Attributes
    ----------
    estimate
        The number, in units of the loss (squared for a squared norm).
    stderr
        Its standard error (not the spread of a single probe); zero where it is exact.
    samples
        One independent unbiased value per probe, where it is the mean of such.
    products
        Passes through the sample set: operator products, or backward passes per sample.
    converged
        Whether the requested relative standard error was met; None where none was requested.
    method
        How it was estimated.
    """

    estimate: float
    stderr: float
    samples: tuple[float, ...]
    products: int
    converged: bool | None = None
    method: str = "hutchinson"

    @classmethod
    def of(cls, samples: list[float], products: int, relative_error: float | None = None) -> Scalar:
        """Summarise independent samples.

        Parameters
        ----------
        samples
            At least two values.
        products
            Passes through the sample set that they took.
        relative_error
            Requested ``stderr / |estimate|``, or None.
        """
        n = len(samples)
        if n < 2:
            raise ValueError(f"a standard error needs two probes or more, got {n}")
        mean = math.fsum(samples) / n
        stderr = math.sqrt(math.fsum((s - mean) ** 2 for s in samples) / (n - 1) / n)
        met = None if relative_error is None else stderr <= relative_error * abs(mean)
        return cls(mean, stderr, tuple(samples), products, met)

    @classmethod
    def exact(cls, value: float, products: int) -> Scalar:
        """Wrap a number that is known but for rounding."""
        return cls(value, 0.0, (), products, True, "exact")

    def plus(self, other: Scalar, relative_error: float) -> Scalar:
        """Add an independent estimate, and hold the sum against its requested standard error."""
        estimate = self.estimate + other.estimate
        stderr = math.hypot(self.stderr, other.stderr)
        one, rest = (self, other) if other.method == "exact" else (other, self)
        return Scalar(
            estimate,
            stderr,
            # Samples of two sampled terms don't pair up.
            tuple(s + rest.estimate for s in one.samples) if rest.method == "exact" else (),
            self.products + other.products,
            stderr <= relative_error * abs(estimate),
            one.method,
        )


@dataclass(frozen=True)
class Spectrum:
    """Numbers of one matrix.

    Attributes
    ----------
    trace
        Its trace.
    eigenvalues
        Its largest eigenvalues in falling order; empty where none were asked for.
    frobenius
        Its *squared* Frobenius norm, in squared units of the loss; None where not asked for.
    """

    trace: Scalar
    eigenvalues: tuple[Eigenvalue, ...] = ()
    frobenius: Scalar | None = None


@dataclass(frozen=True)
class CurvatureResult:
    """What was measured, on what, and how well.

    Attributes
    ----------
    top_eigenvalue
        The algebraically largest eigenvalue of the Hessian of the mean loss.
    largest_magnitude
        Its eigenvalue of largest absolute value, signed, as far as the same iteration shows it;
        differs from the top one where the most negative eigenvalue dominates.
    trace
        Trace of the Hessian of the mean loss.
    estimator, version
        Name and version of what estimated it (for the engine: torch's).
    parameters
        Number of parameters (those that require a gradient).
    samples
        Number of samples that the loss is averaged over.
    dtype, device
        Of the products.
    seed
        Seed of the probes.
    batch_norm, dropout
        Their modes: always evaluation mode.
    hessian, residual
        By the engine: all asked for about the Hessian, and its difference from the Gauss-Newton
        matrix.
    layer_traces
        By the engine: trace of the Hessian's diagonal block of each parameter tensor, by name.
    gauss_newton
        The Gauss-Newton matrix: of the engine all asked for, beside PyHessian its trace.
    adaptive_sharpness
        sum_i theta_i^2 G_ii with the Gauss-Newton matrix G, invariant under ReLU rescaling.
    gauss_newton_estimator
        What estimated the latter two: "engine", whose pass for them is run beside PyHessian too,
        which has none. None where they are missing.
    resolved
        Whether the loss's curvature has digits left: False where 1 - p, of almost every sample's
        class, is near the resolution of float64, in which losses are computed, or where the
        curvature is near the end of float32's range, in which products are; then eigenvalues
        and traces may be wrong by a factor. None where it was not looked at.
    eigenvectors
        By the engine: of `top` eigenvalues of the Hessian, (k, P) in their order; not part of
        `to_dict`.
    """

    top_eigenvalue: Eigenvalue
    largest_magnitude: float
    trace: Scalar
    estimator: str
    version: str
    parameters: int
    samples: int
    dtype: str
    device: str
    seed: int
    batch_norm: str = "eval (running statistics)"
    dropout: str = "eval (off)"
    hessian: Spectrum | None = None
    gauss_newton: Spectrum | None = None
    residual: Spectrum | None = None
    layer_traces: dict[str, Scalar] | None = None
    adaptive_sharpness: Scalar | None = None
    gauss_newton_estimator: str | None = None
    resolved: bool | None = None
    eigenvectors: Tensor | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries, ready for ``json.dump``."""
        content = asdict(replace(self, eigenvectors=None), dict_factory=_plain)
        del content["eigenvectors"]
        return content


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in items}
