"""What moves curvature without calibration, and calibration without curvature, on one network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focal_curvature.calibration.binning import expected_calibration_error, noise_floor
from focal_curvature.calibration.posterior import log_psi
from focal_curvature.calibration.probabilities import log_softmax
from focal_curvature.calibration.temperature import fit_temperature
from focal_curvature.curvature import Settings, UnsupportedError
from focal_curvature.curvature.memory import estimate_within_memory
from focal_curvature.curvature.rescaling import Tempered, pairs, rescaled
from focal_curvature.data.tensors import Split
from focal_curvature.settings.estimate import Estimate
from focal_curvature.training.evaluation import logits_of

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def interventions(
    model: nn.Module,
    loss: nn.Module,
    sample: Split,
    splits: Mapping[str, Split],
    *,
    gamma: float,
    factors: Sequence[float],
    settings: Estimate,
    bins: int,
    seed: int,
) -> list[Row]:
    """Measure a trained network before and after each control.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    loss : nn.Module
        Whose Hessian is meant; one for all networks, such as cross-entropy.
    sample : Split
        Of the curvature.
    splits : mapping
        "validation", for the temperature, and "test", for the calibration error.
    gamma : float
        Focusing parameter that Psi undoes; 0 has nothing to undo.
    factors : sequence of float
        Of Dinh's rescaling of the first pair of layers that allows it.
    settings : Estimate
        Of the curvature; the engine estimates, whatever they say.
    bins, seed : int
        Of the calibration error; of all that is random.

    Returns
    -------
    list of dict
        A row per ``control``: "none", "temperature", "dinh" and "psi", with its ``value`` (the
        temperature T, the factor, gamma), ``trace``, ``trace_gauss_newton``, ``top_eigenvalue`` and
        ``adaptive_sharpness`` of the loss (nats), ``trace_converged`` and
        ``top_eigenvalue_converged``, ``ece`` with its ``noise_floor_95`` (fractions),
        ``logit_difference`` from the network as trained, relative to its largest logit, and
        ``layers`` of the rescaling. A control that is not applicable has its ``reason`` alone; one
        whose Hessian is not finite, or cannot be computed, has that as its ``reason``, in place of
        the curvature. A network that the pass for the Gauss-Newton matrix cannot take is without
        its trace and the adaptive sharpness. Psi leaves a posterior but no network, and so has no
        curvature.
    """
    engine = Settings.of(settings, estimator="engine")

    def curvature(network: nn.Module, loss: nn.Module) -> Row:
        try:
            result, _ = estimate_within_memory(
                network, loss, sample.images, sample.labels, engine, seed
            )
        except (FloatingPointError, UnsupportedError) as error:
            logger.error("%s", error)
            return {"reason": str(error)}
        row: Row = {
            "trace": result.trace.estimate,
            "trace_converged": result.trace.converged,
            "top_eigenvalue_converged": result.top_eigenvalue.converged,
            "top_eigenvalue": result.top_eigenvalue.estimate,
        }
        if result.gauss_newton and result.adaptive_sharpness:
            row["trace_gauss_newton"] = result.gauss_newton.trace.estimate
            row["adaptive_sharpness"] = result.adaptive_sharpness.estimate
        return row

    test = splits["test"]
    truth = test.labels.cpu().numpy()

    def calibration(log_probabilities: np.ndarray) -> Row:
        confidence = np.exp(log_probabilities.max(axis=1))
        correct = log_probabilities.argmax(axis=1) == truth
        return {
            "ece": expected_calibration_error(confidence, correct, bins),
            "noise_floor_95": noise_floor(confidence, bins, seed)[1],
        }

    def logits(network: nn.Module, split: Split) -> np.ndarray:
        return _numpy(logits_of(network, split.images))

    trained = logits(model, test)
    as_trained = log_softmax(trained)
    before = {"control": "none", "value": None}
    rows = [before | curvature(model, loss) | calibration(as_trained)]

    validation = splits["validation"]
    temperature = fit_temperature(
        logits(model, validation), validation.labels.cpu().numpy(), bins=bins
    )
    row: Row = {"control": "temperature", "value": temperature.value}
    if temperature.at_bound:
        row["reason"] = "the validation split does not determine the temperature"
    rows.append(
        row
        | curvature(model, Tempered(loss, temperature.value))
        | calibration(log_softmax(trained / temperature.value))
    )

    layers = pairs(model)
    for factor in factors:
        row = {"control": "dinh", "value": factor}
        if not layers:
            row["reason"] = "not applicable: no layer followed by ReLU and read by one other alone"
        else:
            twin = rescaled(model, layers[0], factor)
            after = logits(twin, test)
            row |= curvature(twin, loss) | calibration(log_softmax(after))
            row["logit_difference"] = float(np.abs(after - trained).max() / np.abs(trained).max())
            row["layers"] = " ".join(layers[0])
        rows.append(row)
    if gamma:
        rows.append({"control": "psi", "value": gamma} | calibration(log_psi(as_trained, gamma)))
    return rows


def _numpy(logits: Tensor) -> np.ndarray:
    return logits.to("cpu", torch.float64).numpy()
