"""PyHessian 0.1 behind our interface, with its known defects kept away from the numbers.

PyHessian (Yao et al. 2020, arXiv 1912.07145) draws the probes and runs the power iteration and
Hutchinson's estimator. Around it:

- it works on a copy of the model with clean gradients: a second instance on one model would
  otherwise add its gradient to the first's and double the Hessian;
- a fixed number of probes: its stopping rule compares two running means, which bounds nothing;
- its power iteration is on |lambda|: where that finds a negative eigenvalue, a second one on the
  shifted matrix finds the algebraically largest;
- it adds 1e-6 to norms and eigenvalues, which is not small beside a fitted focal loss's: it is
  given a matrix of order one, and the eigenvalue is our own Rayleigh quotient;
- its random numbers come from the global generator: seeded here, then restored;
- it stops at a parameter that the loss does not depend on, or only linearly: there a term of zero,
  square in all parameters, is added to the loss.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from pyhessian import hessian
from pyhessian.utils import hessian_vector_product
from torch import Tensor, nn

from .engine import problem_of
from .operators import backward_twice, require_second_derivatives, require_symmetry
from .prepare import UnsupportedError, neutral, refuse, require_finite
from .problem import Problem, mean_of
from .results import CurvatureResult, Eigenvalue, Scalar
from .samples import Samples, length
from .settings import Settings


class _Hessian(hessian):
    """PyHessian's class with its product counted, checked, scaled and shifted."""

    def __init__(self, problem: Problem, chunks: list) -> None:
        self.products, self.scale, self.shift = 0, 1.0, 0.0
        model, names = problem.model, dict(zip(problem.keys, problem.names, strict=True))
        self.names = [names[key] for key, p in model.named_parameters() if p.requires_grad]
        self.kept = len(chunks) == 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")
            super().__init__(
                model,
                _criterion(problem),
                data=chunks[0] if self.kept else None,
                dataloader=None if self.kept else chunks,
                cuda=chunks[0][0].is_cuda,
            )
        model.zero_grad(set_to_none=True)
        if self.kept:
            require_finite(self.names, self.gradsH, "gradient")
        self.full_dataset = True  # so that both modes go through the product below

    def dataloader_hv_product(self, v: list[Tensor]) -> tuple[float, list[Tensor]]:
        self.products += 1
        if self.kept:
            hv = hessian_vector_product(self.gradsH, self.params, v)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")
                _, hv = super().dataloader_hv_product(v)
        require_finite(self.names, hv, "Hessian product")
        hv = [h * self.scale + self.shift * x for h, x in zip(hv, v, strict=True)]
        return _dot(hv, v), hv

    def dominant(self, settings: Settings) -> tuple[float, float, int]:
        """Eigenvalue of largest magnitude of the Hessian plus shift; value, residual, steps."""
        before = self.products
        # For two eigenvalues of ratio r the change per step is (1 + r) residual**2.
        _, (v,) = self.eigenvalues(settings.max_iterations, settings.tolerance**2)
        steps = self.products - before
        shift, self.shift = self.shift, 0.0
        norm = math.sqrt(_dot(v, v))
        v = [x / norm for x in v] if norm else v
        value, hv = self.dataloader_hv_product(v)
        gap = math.sqrt(
            sum(float((h - value * x).square().sum()) for h, x in zip(hv, v, strict=True))
        )
        self.shift = shift
        relative = gap / max(abs(value), sys.float_info.min)  # JSON has no infinity
        return value / self.scale, min(relative, sys.float_info.max), steps


def _criterion(problem: Problem) -> Callable[[Any, Any], Tensor]:
    """Return (outputs, targets) -> mean loss that every parameter has two derivatives of."""
    parameters = [p for p in problem.model.parameters() if p.requires_grad]

    def mean(outputs: Any, targets: Any) -> Tensor:
        return mean_of(problem.loss, outputs, targets)

    x, y = problem.samples.first(2)
    with refuse("the network or the loss cannot be differentiated twice"):
        gradient = torch.autograd.grad(
            mean(problem.model(x), y), parameters, create_graph=True, allow_unused=True
        )
        form = torch.stack([g.square().sum() for g in gradient if g is not None]).sum()
        second = (
            torch.autograd.grad(form, parameters, allow_unused=True)
            if form.requires_grad
            else [None]
        )
        generator = torch.Generator(problem.device).manual_seed(0)
        v, w = torch.randn(
            2, problem.size, generator=generator, dtype=problem.dtype, device=problem.device
        )
        batch = x, y, torch.full((length(x),), 1 / length(x), device=problem.device)
        require_second_derivatives(problem, batch)
        hv, hw = (
            torch.cat([p.flatten() for p in backward_twice(problem, "hessian", batch, parts)])
            for parts in (problem.split(v), problem.split(w))
        )
        if hv.isfinite().all() and hw.isfinite().all():
            require_symmetry(problem, "hessian", batch, v, w, hv, hw)
    if not any(part is None for part in (*gradient, *second)):
        return mean
    return lambda outputs, targets: (
        mean(outputs, targets) + 0 * sum(p.square().sum() for p in parameters)
    )


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))


def estimate(
    model: nn.Module, loss: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings, seed: int
) -> CurvatureResult:
    """Top eigenvalue and trace by PyHessian; see `focal_curvature.curvature.estimate`."""
    return estimate_of(problem_of(model, loss, inputs, labels, settings), settings, seed)


@neutral()
def estimate_of(problem: Problem, settings: Settings, seed: int) -> CurvatureResult:
    """Top eigenvalue and trace of the Hessian of the mean loss, by PyHessian.

    Parameters
    ----------
    problem
        Network, loss and samples in tensors, on the CPU or a CUDA device.
    settings
        Uses probes, max_iterations, tolerance and chunk. Samples that fit one chunk keep one graph
        for all products; otherwise it is built anew, chunk by chunk, for each.
    seed
        Of the probes. The same seed gives the same numbers.

    Raises
    ------
    UnsupportedError
        For inputs or targets that are not one tensor each.
    FloatingPointError
        For a non-finite gradient or product; names the first layer affected.
    """
    if not isinstance(problem.samples, Samples):
        raise UnsupportedError("PyHessian takes samples in tensors: set the estimator to 'engine'")
    inputs, labels = problem.samples.inputs, problem.samples.targets
    if not isinstance(inputs, Tensor) or not isinstance(labels, Tensor):
        raise UnsupportedError(
            "PyHessian takes inputs and targets of one tensor each: set the estimator to 'engine'"
        )
    inputs = inputs.contiguous()
    chunks = list(zip(inputs.split(settings.chunk), labels.split(settings.chunk), strict=True))
    devices = range(torch.cuda.device_count())
    try:
        with torch.random.fork_rng(devices=devices), torch.cuda.device_of(inputs):
            torch.manual_seed(seed)
            h = _Hessian(problem, chunks)
            samples = h.trace(settings.probes, float("-inf"))
            trace = Scalar.of(samples, h.products)
            h.products = 0
            probe = [torch.randn_like(p) for p in h.params]
            image = h.dataloader_hv_product(probe)[1]
            # In float64: squares of a tiny Hessian's products are below the range of float32.
            size = math.sqrt(_dot(*[[x.double() for x in image]] * 2) / _dot(probe, probe))
            h.scale = 1 / size if size else 1.0
            largest, residual, steps = h.dominant(settings)
            top = largest
            if largest < 0:
                h.shift = -largest * h.scale
                top, residual, more = h.dominant(settings)
                steps += more
    finally:
        # A gradient with a graph and its parameter hold each other, out of Python's sight.
        problem.model.zero_grad(set_to_none=True)
    return CurvatureResult(
        top_eigenvalue=Eigenvalue(top, residual, steps, h.products, residual <= settings.tolerance),
        largest_magnitude=largest,
        trace=trace,
        estimator="pyhessian",
        version=version("pyhessian"),
        parameters=sum(p.numel() for p in h.params),
        samples=len(labels),
        dtype=settings.dtype,
        device=problem.device.type,
        seed=seed,
    )
