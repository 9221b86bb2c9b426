"""Settings of an estimate, checked once, each with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

ESTIMATORS = ("pyhessian", "engine")
DTYPES = ("float32", "float64")
MATRICES = ("hessian", "gauss_newton", "residual")


@dataclass(frozen=True)
class Settings:
    """How to estimate.

    Attributes
    ----------
    estimator
        "pyhessian" (the reference) or "engine".
    probes
        Random probes for a trace or norm: PyHessian's fixed number, the engine's budget. A trace
        of the engine that needs no more backward passes than this is exact.
    max_iterations
        Most iterations for an eigenvalue.
    tolerance
        Requested relative residual |Av - lambda v| / |lambda| of an eigenvalue.
    dtype
        "float32" or "float64": of parameters, inputs and products.
    chunk
        Most samples whose graph or linearisation is in memory at a time.
    batch
        Engine: samples worked on at a time, at most ``chunk``. Small ones stay in a CPU's cache.
    relative_error
        Engine: requested standard error of a trace or norm over its absolute value.
    top
        Engine: number of largest eigenvalues.
    matrices
        Engine: matrices whose eigenvalues (and norms) are wanted, of "hessian", "gauss_newton" and
        "residual". The Hessian's and all three traces come in any case.
    frobenius
        Engine: whether to estimate squared Frobenius norms.
    check
        Engine: whether to demand that a product repeated comes out the same.
    """

    estimator: str = "pyhessian"
    probes: int = 50
    max_iterations: int = 100
    tolerance: float = 1e-2
    dtype: str = "float32"
    chunk: int = 1024
    batch: int = 128
    relative_error: float = 1e-2
    top: int = 1
    matrices: tuple[str, ...] = ("hessian",)
    frobenius: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for key, allowed in (("estimator", ESTIMATORS), ("dtype", DTYPES)):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key}: {getattr(self, key)!r} is none of {', '.join(allowed)}")
        if not set(self.matrices) <= set(MATRICES):
            raise ValueError(f"matrices: {list(self.matrices)} are not all of {MATRICES}")
        for key, least in (
            ("probes", 2),
            ("max_iterations", 1),
            ("chunk", 1),
            ("batch", 1),
            ("top", 1),
        ):
            if getattr(self, key) < least:
                raise ValueError(f"{key}: {getattr(self, key)!r} is below {least}")
        for key in ("tolerance", "relative_error"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key}: {getattr(self, key)!r} is not positive")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Settings:
        """Build from a plain mapping; unknown keys raise ValueError."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"unknown curvature settings {unknown}; known: {', '.join(known)}")
        return cls(**settings)
