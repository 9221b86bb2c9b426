"""The engine: eigenvalues, traces and norms with their errors, from linearised products."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from .lanczos import lanczos
from .operators import Operator
from .prepare import UnsupportedError, neutral, require_finite
from .problem import Problem
from .results import CurvatureResult, Scalar, Spectrum
from .settings import Settings
from .trace import (
    GaussNewtonTrace,
    gauss_newton_trace,
    hutchpp,
    hutchpp_blocks,
    residual_traces,
    summed,
)

logger = logging.getLogger(__name__)


def estimate(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings, seed: int
) -> CurvatureResult:
    """Curvature of the mean loss; see `focal_curvature.curvature.estimate`."""
    return estimate_of(problem_of(model, loss, inputs, labels, settings), settings, seed)


def problem_of(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings
) -> Problem:
    """Build the problem that settings ask for.

    Raises
    ------
    ValueError
        For a device that the estimator does not know.
    """
    kind = inputs.device.type
    if settings.estimator == "pyhessian" and kind not in ("cpu", "cuda"):
        raise ValueError(
            f"PyHessian runs on cpu and cuda only, not on {kind}: "
            "set the estimator to 'engine', or the device to cpu"
        )
    return Problem.of(
        model,
        loss,
        (inputs, labels),
        dtype=getattr(torch, settings.dtype),
        batch=settings.batch,
        chunk=settings.chunk,
        check=settings.check,
    )


@neutral()
def estimate_of(problem: Problem, settings: Settings, seed: int) -> CurvatureResult:
    """Estimate the curvature of a problem.

    The trace is the Gauss-Newton matrix's, exact from per-sample gradients, plus the residual's:
    nothing where the network is piecewise linear in each parameter tensor, else by Hutchinson.
    Where there are no per-sample gradients, it is Hutch++'s, on the basis of the Lanczos run.

    Parameters
    ----------
    problem : Problem
        Network, loss and samples.
    settings : Settings
        ``dtype``, ``batch`` and ``chunk`` are the problem's.
    seed : int
        Of the probes.

    Raises
    ------
    FloatingPointError
        For a non-finite product or gradient; names the first layer affected.
    UnsupportedError
        Where the curvature cannot be computed.
    """
    generator = torch.Generator(problem.device).manual_seed(seed)
    target = settings.relative_error
    limits: dict[str, Any] = {"budget": settings.probes, "relative_error": target}
    spectra: dict[str, Spectrum] = {}
    extras: dict[str, Any] = {}
    try:
        passes = gauss_newton(problem, generator, settings)
        extras = passes.extras(target)
        spectra, layers = _by_parts(problem, generator, settings, passes)
    except UnsupportedError as error:
        logger.warning("the trace is Hutch++'s alone: %s", error)

    for name in dict.fromkeys(("hessian", *settings.matrices)):
        operator = Operator.on(problem, name, check=settings.check)
        ritz = lanczos(
            operator,
            operator.normal(generator),
            k=min(settings.top, problem.size),
            tolerance=settings.tolerance,
            max_iterations=settings.max_iterations,
        )
        known: dict[str, Any] = {"basis": ritz.basis, "images": ritz.images}
        trace = spectra[name].trace if name in spectra else None
        if trace is None:
            samples = hutchpp_blocks(operator, generator, **known, **limits)
            trace = summed(samples.sum(1), len(samples), target)
            if name == "hessian":
                layers = {
                    block: summed(s, len(samples), target)
                    for block, s in zip(problem.names, samples.T, strict=True)
                }
        norm = None
        if settings.frobenius:
            norm = hutchpp(operator, generator, **known, squared=True, **limits)
        spectra[name] = Spectrum(trace, ritz.eigenvalues, norm)
        if name == "hessian":
            largest, eigenvectors = max(ritz.values.tolist(), key=abs), ritz.vectors
    return CurvatureResult(
        top_eigenvalue=spectra["hessian"].eigenvalues[0],
        largest_magnitude=largest,
        trace=spectra["hessian"].trace,
        estimator="engine",
        version=version("torch"),
        parameters=problem.size,
        samples=problem.samples.count,
        dtype=str(problem.dtype).removeprefix("torch."),
        device=problem.device.type,
        seed=seed,
        layer_traces=layers,
        eigenvectors=eigenvectors,
        hessian=spectra["hessian"],
        gauss_newton=spectra.get("gauss_newton"),
        residual=spectra.get("residual"),
        **extras,
    )


def _by_parts(
    problem: Problem, generator: torch.Generator, settings: Settings, passes: GaussNewtonTrace
) -> tuple[dict[str, Spectrum], dict[str, Scalar]]:
    """Return the traces of the three matrices, and the Hessian's by parameter tensor."""
    target = settings.relative_error
    residual = Operator.on(problem, "residual", check=settings.check)
    of_residual, by_layer = residual_traces(
        residual, generator, float(passes.layers.sum(1).mean()), budget=settings.probes,
        relative_error=target,
    )  # fmt: skip
    of_gauss_newton = summed(passes.layers.sum(1), passes.passes, target)
    traces = {
        "gauss_newton": of_gauss_newton,
        "residual": of_residual,
        "hessian": of_gauss_newton.plus(of_residual, target),
    }
    layers = {
        name: summed(g, passes.passes, target).plus(r, target)
        for name, g, r in zip(problem.names, passes.layers.T, by_layer, strict=True)
    }
    return {name: Spectrum(trace) for name, trace in traces.items()}, layers


def with_gauss_newton(
    result: CurvatureResult, problem: Problem, settings: Settings
) -> CurvatureResult:
    """Add the trace of the Gauss-Newton matrix and the adaptive sharpness to another's result.

    Both come from one pass, at the seed of the result. A model or loss that `torch.func.vmap`
    cannot take, such as one that turns a tensor into a Python number, leaves the result without.
    """
    generator = torch.Generator(problem.device).manual_seed(result.seed)
    try:
        passes = gauss_newton(problem, generator, settings)
    except (UnsupportedError, FloatingPointError) as error:
        logger.warning("no Gauss-Newton trace: %s", error)
        return result
    target = settings.relative_error
    return replace(
        result,
        gauss_newton=Spectrum(summed(passes.layers.sum(1), passes.passes, target)),
        **passes.extras(target),
    )


def gauss_newton(
    problem: Problem, generator: torch.Generator, settings: Settings
) -> GaussNewtonTrace:
    """Run the pass that the Gauss-Newton trace and the adaptive sharpness come from."""
    passes = gauss_newton_trace(
        problem, generator, budget=settings.probes, relative_error=settings.relative_error
    )
    require_finite(problem.names, passes.layers.T, "Gauss-Newton trace")
    # Squares of weights are beyond float32 where the weights themselves are not.
    require_finite(problem.names, passes.scaled.T, "adaptive sharpness")
    return passes
