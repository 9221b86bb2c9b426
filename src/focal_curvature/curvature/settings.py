"""Settings of an estimate, checked once, each with its default."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from focal_curvature.settings import require_allowed
from focal_curvature.settings.estimate import Estimate

Matrix = Literal["hessian", "gauss_newton", "residual"]


@dataclass(frozen=True)
class Settings(Estimate):
    """How to estimate, and what besides the Hessian's top eigenvalue and trace.

    Attributes
    ----------
    top
        Engine: number of largest eigenvalues.
    matrices
        Engine: matrices whose eigenvalues (and norms) are wanted. The Hessian's and all three
        traces come in any case.
    frobenius
        Engine: whether to estimate squared Frobenius norms.
    check
        Whether to try first that samples do not mix, that nothing is random and that nothing is
        computed without gradients; and of the engine's first product that it is symmetric and
        comes out the same without the recorded graph.

    The others are those of `focal_curvature.settings.estimate.Estimate`.
    """

    top: int = 1
    matrices: tuple[Matrix, ...] = ("hessian",)
    frobenius: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_allowed(self)
        if self.top < 1:
            raise ValueError(f"top: {self.top!r} is below 1")
        if not set(self.matrices) <= set(get_args(Matrix)):
            raise ValueError(f"matrices: {list(self.matrices)} are not all of {get_args(Matrix)}")

    @classmethod
    def of(cls, how: Estimate, **more: Any) -> Settings:
        """Build from a configuration's, or other, settings, and from ``more`` in their place."""
        given = {e.name: getattr(how, e.name) for e in fields(cls) if hasattr(how, e.name)}
        return cls(**given | more)
