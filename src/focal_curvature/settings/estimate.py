"""How curvature is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from focal_curvature.settings import option


@dataclass(frozen=True)
class Estimate:
    """How curvature is estimated."""

    estimator: Literal["pyhessian", "engine"] = option(
        "pyhessian",
        choose="`pyhessian`, the reference, or `engine`, ours: exact traces for ReLU networks, see "
        "[docs/curvature.md](../docs/curvature.md)",
    )
    probes: int = option(
        50,
        about="Hutchinson probes for the trace",
        choose="PyHessian's for the trace; its standard error falls as 1/sqrt(probes) and is "
        "recorded. The engine's most passes: a trace that takes no more of them (one per class, "
        "less one) is exact, another one is estimated",
        minimum=2,
    )
    max_iterations: int = option(
        100,
        about="iterations for the top eigenvalue at most",
        choose="of the top eigenvalue: how long to try",
        minimum=1,
    )
    tolerance: float = option(
        0.01,
        about="relative residual of the top eigenvalue at which they end",
        choose="of the top eigenvalue: the relative residual asked for, |Hv - λv| / |λ|. The error "
        "of the eigenvalue is of the order of the residual squared, if it is the top one's: at a "
        "residual of 0.03 some starts settle on a lower eigenvalue, see "
        "[docs/curvature.md](../docs/curvature.md)",
        exclusiveMinimum=0,
    )
    chunk: int = option(
        1024,
        about="samples per pass; bounds memory",
        choose="samples per pass: bounds memory. Up to `chunk` samples the graph is kept between "
        "products, which is faster",
        minimum=1,
    )
    dtype: Literal["float32", "float64"] = option(
        "float32", choose="`float64` doubles memory and more than doubles time"
    )
    batch: int = option(
        128,
        about="samples that the engine works on at once",
        choose="of the engine: samples worked on at once, at most `chunk`; small ones stay in a "
        "processor's cache (images of 8 x 8 pixels want more, 400, say)",
        minimum=1,
    )
    relative_error: float = option(
        0.01,
        about="standard error over trace that the engine stops at",
        choose="of the engine: the error of a trace at which it stops, if it is not exact anyway",
        exclusiveMinimum=0,
    )
