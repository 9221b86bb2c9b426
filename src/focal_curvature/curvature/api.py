"""The curvature of a model of one's own, in one call."""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from . import engine
from .density import Density, density
from .operators import Operator
from .problem import Loss, Problem
from .results import CurvatureResult, Eigenvalue, Scalar
from .settings import Settings

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "binary_cross_entropy": nn.BCEWithLogitsLoss,
    "mse": nn.MSELoss,
}


@dataclass(frozen=True)
class Curvature:
    """The Hessian of a network's mean loss: what was measured, on what, and how well.

    Attributes
    ----------
    eigenvalues : tuple of Eigenvalue
        The k algebraically largest, in falling order, each with its residual, and one of them as
        often as its multiplicity.
    eigenvectors : tuple of dict
        Theirs: name of a parameter -> tensor of its shape, on the CPU, in the dtype of the
        products. One eigenvector's tensors together are of unit length.
    trace : Scalar
        Of the whole Hessian, with its standard error, zero where it is exact.
    layers : dict
        Name of a parameter -> trace of its diagonal block, a `Scalar`.
    seconds : float
        That it took.
    record : CurvatureResult
        All else that was estimated beside, such as the trace of the Gauss-Newton matrix.
    """

    eigenvalues: tuple[Eigenvalue, ...]
    eigenvectors: tuple[dict[str, Tensor], ...] = field(repr=False)
    trace: Scalar
    layers: Mapping[str, Scalar] = field(repr=False)
    seconds: float
    record: CurvatureResult = field(repr=False)
    _problem: Problem = field(repr=False)

    @property
    def top_eigenvalue(self) -> Eigenvalue:
        """The algebraically largest eigenvalue."""
        return self.eigenvalues[0]

    def density(self, *, probes: int = 4, steps: int = 80, seed: int = 0) -> Density:
        """Estimate the spectral density, on the same samples; see `density`.

        Parameters
        ----------
        probes, steps : int
            Independent Lanczos runs and their length: probes x steps products.
        seed : int
            Of the probes.
        """
        generator = torch.Generator(self._problem.device).manual_seed(seed)
        with _as_it_was(getattr(self._problem.samples, "loader", None)):
            return density(Operator.on(self._problem), generator, probes=probes, steps=steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries, ready for ``json.dump``; no vectors."""
        return {**self.record.to_dict(), "seconds": round(self.seconds, 3)}

    def __str__(self) -> str:
        """Return a table for the screen."""
        r = self.record
        lines = [
            f"Hessian of the mean loss: {r.samples:,} samples, {r.parameters:,} parameters "
            f"({r.dtype}, {r.device}, {self.seconds:.1f} s)"
        ]
        for i, value in enumerate(self.eigenvalues, 1):
            met = "" if value.converged else ", tolerance not met"
            lines.append(
                f"eigenvalue {i:<12} {value.estimate:12.5g}   residual {value.residual:.1e}{met}"
            )
        # The error that is asked for is the whole trace's.
        met = ", target not met" if self.trace.converged is False else ""
        lines.append(f"{'trace':<23} {self.trace.estimate:12.5g}   {_error(self.trace)}{met}")
        lines.append("trace by layer")
        width = max(map(len, self.layers))
        lines += [
            f"  {name:<{max(width, 21)}} {part.estimate:12.5g}   {_error(part)}"
            for name, part in self.layers.items()
        ]
        return "\n".join(lines)


def _error(scalar: Scalar) -> str:
    return "exact" if scalar.method == "exact" else f"+- {scalar.stderr:.1g}"


def measure(
    model: nn.Module,
    loader: Iterable[Any],
    loss: str | Loss = "cross_entropy",
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    parameters: Iterable[str | Tensor] | None = None,
    k: int = 1,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
    relative_error: float = 1e-2,
    probes: int = 50,
    dtype: Literal["float32", "float64"] = "float32",
    device: torch.device | str | None = None,
    batch: int = 128,
    chunk: int = 1024,
    seed: int = 0,
    progress: bool | None = None,
) -> Curvature:
    """Measure the Hessian of a network's mean loss: eigenpairs, trace, trace by layer.

    The model is copied, and the copy put into evaluation mode (batch norm on its running
    statistics, dropout off). Nothing of the caller's changes: mode, weights, gradients, the states
    of random generators. Samples are read batch by batch, as often as there are passes.

    Parameters
    ----------
    model : nn.Module
        Called with the inputs: a tensor as the argument, a tuple as arguments, a mapping as keyword
        arguments. Of outputs with ``logits`` those are taken.
    loader : iterable of (inputs, targets)
        A data loader or a list, which gives the same batches each time it is read; or one tuple
        (inputs, targets) that is the whole sample set. Inputs and targets are tensors, or tuples or
        mappings of tensors, with a row per sample.
    loss : str, nn.Module or callable
        "cross_entropy", "binary_cross_entropy" (of logits) or "mse", the mean over a sample's
        outputs; a loss module of torch's or of `focal_curvature.losses`; or a function (outputs,
        targets) -> losses (N,), or their mean over samples.
    forward : callable, optional
        (model, inputs) -> outputs, where the model is called otherwise.
    parameters : iterable of str or Tensor, optional
        Those to differentiate in: their names, names of modules, or tensors. By default all that
        require a gradient.
    k : int
        Largest eigenpairs wanted. For more than one, copies of a multiple eigenvalue are looked for
        by further starts; see `focal_curvature.curvature.lanczos`.
    tolerance : float
        Requested residual |Hv - lambda v| / |lambda| of each.
    max_iterations : int
        Most products for them.
    relative_error : float
        Requested standard error of the trace over its absolute value, where it is not exact.
    probes : int
        Most random probes for it.
    dtype : str
        "float32" or "float64": of the copy's weights and of products, whatever the model's are.
    device : torch.device or str, optional
        Where the work is done; by default where the model is.
    batch : int
        Samples worked on at a time.
    chunk : int
        Most samples that are held in memory linearised; halved where memory ends.
    seed : int
        Of random starts and probes. The same seed gives the same bits.
    progress : bool, optional
        Whether to show progress on standard error, by tqdm if it is installed; by default on a
        terminal.

    Returns
    -------
    Curvature

    Raises
    ------
    ValueError
        For whatever cannot be measured, in a line that names the layer, where there is one.
    FloatingPointError
        If weights, inputs, a gradient or a product are not finite; names the first layer affected.
    MemoryError
        If memory does not suffice for a single sample at a time.
    """
    from .memory import within_memory  # which needs this package

    settings = Settings(
        estimator="engine",
        probes=probes,
        max_iterations=max_iterations,
        tolerance=tolerance,
        dtype=dtype,
        batch=batch,
        chunk=chunk,
        relative_error=relative_error,
        top=k,
    )
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: a {type(model).__name__} is no nn.Module")
    _warn_of_training(model)
    if device is None:
        device = next(iter(model.parameters()), torch.zeros(())).device
    started = time.perf_counter()
    with _as_it_was(loader):
        problem = Problem.of(
            model,
            _loss(loss),
            loader,
            forward=forward,
            parameters=parameters,
            dtype=getattr(torch, dtype),
            device=device,
            batch=batch,
            chunk=chunk,
        )
        with _shown(problem, progress) as watched:

            def attempt(chunk: int) -> CurvatureResult:
                part = replace(watched, chunk=chunk, batch=min(watched.batch, chunk))
                return engine.estimate_of(part, settings, seed)

            record, chunk = within_memory(
                attempt, chunk, problem.samples.count, problem.device, "the number of samples"
            )
    problem = replace(problem, chunk=chunk, batch=min(problem.batch, chunk))
    # The engine makes all three.
    assert record.hessian and record.layer_traces and record.eigenvectors is not None
    return Curvature(
        eigenvalues=record.hessian.eigenvalues,
        eigenvectors=tuple(
            dict(zip(problem.names, (p.cpu() for p in problem.split(v)), strict=True))
            for v in record.eigenvectors
        ),
        trace=record.trace,
        layers=record.layer_traces,
        seconds=time.perf_counter() - started,
        record=record,
        _problem=problem,
    )


@contextmanager
def _shown(problem: Problem, progress: bool | None) -> Iterator[Problem]:
    """Show a bar of the batches worked on, if it is wanted and tqdm is there."""
    if progress is None:
        progress = sys.stderr.isatty()
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        progress = False
    if not progress:
        yield problem
        return
    # How many there will be is not known: an iteration ends when its error is small enough.
    with tqdm(desc="curvature", unit=" batches", leave=False) as bar:
        yield replace(problem, progress=bar.update)


def _loss(loss: str | Loss) -> Loss:
    if isinstance(loss, type):
        raise ValueError(f"loss: {loss.__name__} is a class: give {loss.__name__}()")
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise ValueError(
            f"loss: {loss!r} is none of {', '.join(LOSSES)}: give one of them, a module such as "
            "focal(2.0), or a function of (outputs, targets)"
        )
    return LOSSES[loss]()


# Layers that do something else in training; a subclass's name is its own.
MODES = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def _warn_of_training(model: nn.Module) -> None:
    names = (n for n, m in model.named_modules() if m.training and isinstance(m, MODES))
    if (name := next(names, None)) is not None:
        warnings.warn(
            f"the model is in training mode ({name} would behave otherwise in it): what is "
            "measured is the model in evaluation mode; call model.eval() if that is meant",
            stacklevel=3,
        )


@contextmanager
def _as_it_was(loader: Any) -> Iterator[None]:
    """Give back the states of all random generators that reading data may advance."""
    generator = getattr(loader, "generator", None)
    held = [(g, g.get_state()) for g in [generator] if isinstance(g, torch.Generator)]
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        for g, state in held:
            g.set_state(state)
