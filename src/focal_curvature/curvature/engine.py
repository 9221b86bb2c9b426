"""The engine: eigenvalues, traces and norms with their errors, from linearised products."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor, nn

from .lanczos import lanczos
from .operators import Operator, normal
from .prepare import require_finite
from .problem import Problem
from .results import CurvatureResult, Spectrum
from .settings import Settings
from .trace import GaussNewtonTrace, gauss_newton_trace, hutchpp, residual_traces, summed

logger = logging.getLogger(__name__)


def estimate(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings, seed: int
) -> CurvatureResult:
    """Curvature of the mean loss; see `focal_curvature.curvature.estimate`.

    The trace is the Gauss-Newton matrix's, exact from per-sample gradients, plus the residual's:
    nothing where the network is piecewise linear in each parameter tensor, else by Hutchinson.

    Raises
    ------
    ValueError
        On a device without float64.
    FloatingPointError
        For a non-finite product or gradient; names the first layer affected.
    """
    if inputs.device.type == "mps":
        raise ValueError("mps has no float64, which sums are kept in: set the device to cpu")
    problem = _problem(model, loss, inputs, labels, settings)
    generator = torch.Generator(inputs.device).manual_seed(seed)
    target = settings.relative_error
    limits = {"budget": settings.probes, "relative_error": target}

    passes = _passes(problem, generator, settings)
    known = float(passes.layers.sum(1).mean())
    residual = Operator(problem, "residual", check=settings.check)
    samples = residual_traces(residual, generator, known, **limits)
    traces = {
        "gauss_newton": summed(passes.layers.sum(1), passes.passes, target),
        "residual": summed(samples.sum(1), residual.products, target),
    }
    traces["hessian"] = traces["gauss_newton"].plus(traces["residual"], target)
    layers = {
        name: summed(g, passes.passes, target).plus(summed(r, residual.products, target), target)
        for name, g, r in zip(problem.names, passes.layers.T, samples.T, strict=True)
    }
    del residual  # what it keeps, before the next operator keeps as much

    spectra = {name: Spectrum(trace) for name, trace in traces.items()}
    for name in dict.fromkeys(("hessian", *settings.matrices)):
        operator = Operator(problem, name, check=settings.check)
        ritz = lanczos(
            operator,
            normal(problem, generator),
            k=min(settings.top, problem.size),
            tolerance=settings.tolerance,
            max_iterations=settings.max_iterations,
        )
        norm = None
        if settings.frobenius:
            norm = hutchpp(
                operator, generator, basis=ritz.basis, images=ritz.images, squared=True, **limits
            )
        spectra[name] = Spectrum(traces[name], ritz.eigenvalues, norm)
        if name == "hessian":
            largest = max(ritz.values.tolist(), key=abs)
    return CurvatureResult(
        top_eigenvalue=spectra["hessian"].eigenvalues[0],
        largest_magnitude=largest,
        trace=traces["hessian"],
        estimator="engine",
        version=version("torch"),
        parameters=problem.size,
        samples=len(labels),
        dtype=settings.dtype,
        device=inputs.device.type,
        seed=seed,
        layer_traces=layers,
        adaptive_sharpness=summed(passes.scaled.sum(1), passes.passes, target),
        gauss_newton_estimator="engine",
        **spectra,
    )


def with_gauss_newton(
    result: CurvatureResult,
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings,
) -> CurvatureResult:
    """Add the trace of the Gauss-Newton matrix and the adaptive sharpness to another's result.

    Both come from one pass, at the seed of the result. A model or loss that `torch.func.vmap`
    cannot take, such as one that turns a tensor into a Python number, leaves the result without.

    Raises
    ------
    FloatingPointError
        For a non-finite gradient; names the first layer affected.
    """
    generator = torch.Generator(inputs.device).manual_seed(result.seed)
    try:
        problem = _problem(model, loss, inputs, labels, settings)
        passes = _passes(problem, generator, settings)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        logger.warning("no Gauss-Newton trace: %s", str(error).splitlines()[0])
        return result
    target = settings.relative_error
    return replace(
        result,
        gauss_newton=Spectrum(summed(passes.layers.sum(1), passes.passes, target)),
        adaptive_sharpness=summed(passes.scaled.sum(1), passes.passes, target),
        gauss_newton_estimator="engine",
    )


def _problem(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings
) -> Problem:
    return Problem.of(
        model,
        loss,
        inputs,
        labels,
        dtype=getattr(torch, settings.dtype),
        batch=settings.batch,
        chunk=settings.chunk,
    )


def _passes(problem: Problem, generator: torch.Generator, settings: Settings) -> GaussNewtonTrace:
    passes = gauss_newton_trace(
        problem, generator, budget=settings.probes, relative_error=settings.relative_error
    )
    require_finite(problem.names, passes.layers.T, "Gauss-Newton trace")
    return passes
