"""A problem whose posterior is known: how far from it focal loss ends, and Psi's way back.

Three classes of equal probability, two-dimensional Gaussians, and small networks trained on fresh
samples at every step, so that nothing but the loss keeps the softmax from the posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from focal_curvature.calibration.posterior import log_psi
from focal_curvature.calibration.probabilities import log_softmax
from focal_curvature.calibration.temperature import fit_temperature
from focal_curvature.losses.focal import focal

CENTRES = np.array([[-1.3, -0.8], [1.3, -0.8], [0.0, 1.3]])
WIDTHS = np.array([0.8, 1.0, 1.2])
HIDDEN = 32
BATCH = 512
LEARNING_RATE = 0.01
VARIANTS = ("raw", "scaled", "psi")


def log_posterior(points: np.ndarray) -> np.ndarray:
    """Logarithm of the true posterior (N, 3) at points (N, 2)."""
    distances = np.square(points[:, None] - CENTRES).sum(2)
    return log_softmax(-distances / (2 * WIDTHS**2) - 2 * np.log(WIDTHS))


def draw(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points (samples, 2), float32, and their classes (samples,), int64."""
    labels = torch.randint(len(CENTRES), (samples,), generator=generator)
    noise = torch.randn(samples, 2, generator=generator)
    centres, widths = (torch.from_numpy(x).float()[labels] for x in (CENTRES, WIDTHS))
    return centres + widths[:, None] * noise, labels


class Networks(torch.nn.Module):
    """Several two-layer networks with tanh units side by side, of equal initial weights."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (2, HIDDEN, HIDDEN, len(CENTRES))
        self.weights = torch.nn.ParameterList()
        self.biases = torch.nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            start = torch.randn(1, inputs, outputs, generator=generator) / inputs**0.5
            self.weights.append(start.repeat(count, 1, 1))
            self.biases.append(torch.zeros(count, 1, outputs))

    def forward(self, points: Tensor) -> Tensor:
        """Return logits (count, N, 3) of points (N, 2)."""
        x = points.expand(len(self.weights[0]), -1, -1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.tanh(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])


def train(gammas: Sequence[float], steps: int, seed: int) -> Networks:
    """Train a network per focal loss, all on the same fresh samples, by Adam with cosine decay.

    Parameters
    ----------
    gammas : sequence of float
        Of the focal losses; 0 is cross-entropy.
    steps : int
        Of 512 samples each.
    seed : int
        Of weights and samples.
    """
    generator = torch.Generator().manual_seed(seed)
    networks = Networks(len(gammas), generator)
    losses = [focal(gamma) for gamma in gammas]
    optimizer = torch.optim.Adam(networks.parameters(), lr=LEARNING_RATE, foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        points, labels = draw(BATCH, generator)
        # a sum over networks, each of which sees its own loss alone
        logits = networks(points)
        total = sum(loss(z, labels).mean() for loss, z in zip(losses, logits, strict=True))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
    return networks


def recovered(logits: np.ndarray, gamma: float, temperature: float) -> dict[str, np.ndarray]:
    """Return the log-posteriors (N, 3) that logits stand for, by variant.

    Parameters
    ----------
    logits : array of shape (N, 3)
    gamma : float
        Of the loss that the network was trained with, undone in ``psi``.
    temperature : float
        That the logits are divided by in ``scaled``.
    """
    raw = log_softmax(logits)
    return {"raw": raw, "scaled": log_softmax(logits / temperature), "psi": log_psi(raw, gamma)}


def errors(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Hold log-posteriors (N, K) against the true ones.

    Returns
    -------
    dict
        ``mean_absolute_error`` of the probabilities, over samples and classes;
        ``kullback_leibler``, mean divergence of the estimate from the truth in nats;
        ``confidence_bias``, mean estimated less true probability of the truly most likely class.
    """
    p, v = np.exp(truth), np.exp(estimate)
    rows = np.arange(len(p))
    top = p.argmax(axis=1)
    return {
        "mean_absolute_error": float(np.abs(p - v).mean()),
        "kullback_leibler": float((p * (truth - estimate)).sum(axis=1).mean()),
        "confidence_bias": float((v - p)[rows, top].mean()),
    }


def experiment(
    gammas: Sequence[float], steps: int, seed: int, *, samples: int = 20_000, shown: int
) -> tuple[list[dict], list[dict], list[dict]]:
    """Train, and compare the networks' posteriors with the true one.

    Parameters
    ----------
    gammas, steps, seed
        As for `train`.
    samples : int
        Fresh ones for the temperature, and as many others for the errors.
    shown : int
        Of the latter, how many are listed one by one.

    Returns
    -------
    scores : list of dict
        `errors`, by ``gamma`` and ``variant``, with the ``temperature``.
    points : list of dict
        By ``gamma``: ``true`` probability of the truly most likely class, and its estimate by each
        variant.
    plane : list of dict
        On a grid ``x``, ``y``, for the truth and the last gamma's variants: ``predicted`` class and
        its probability ``confidence``.
    """
    networks = train(gammas, steps, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    validation, labels = draw(samples, generator)
    test, _ = draw(samples, generator)
    x, y = np.meshgrid(np.linspace(-3.5, 3.5, 36), np.linspace(-3, 3.4, 33))
    grid = np.stack([x.ravel(), y.ravel()], 1)
    with torch.no_grad():
        held_out, logits, on_grid = (
            networks(points).double().numpy()
            for points in (validation, test, torch.from_numpy(grid).float())
        )
    truth = log_posterior(test.double().numpy())
    rows, top = np.arange(shown), truth[:shown].argmax(axis=1)
    scores, points = [], []
    for i, gamma in enumerate(gammas):
        temperature = fit_temperature(held_out[i], labels.numpy()).value
        recoveries = recovered(logits[i], gamma, temperature)
        scores += [
            {"gamma": gamma, "variant": variant, "temperature": temperature}
            | errors(truth, recoveries[variant])
            for variant in VARIANTS
        ]
        columns = {"true": truth} | recoveries
        values = {name: np.exp(values[rows, top]).tolist() for name, values in columns.items()}
        points += [
            {"gamma": gamma} | dict(zip(values, row, strict=True))
            for row in zip(*values.values(), strict=True)
        ]
    drawn = {"true": log_posterior(grid)} | recovered(on_grid[-1], gammas[-1], temperature)
    plane = [
        {"gamma": gammas[-1], "variant": name, "x": a, "y": b, "predicted": k, "confidence": c}
        for name, values in drawn.items()
        for (a, b), k, c in zip(
            grid.tolist(),
            values.argmax(axis=1).tolist(),
            np.exp(values.max(axis=1)).tolist(),
            strict=True,
        )
    ]
    return scores, points, plane
