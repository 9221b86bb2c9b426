"""Focal loss's and cross-entropy's curvature in the logits, by automatic differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import hessian, vmap

from focal_curvature.analysis import theory
from focal_curvature.losses.focal import focal


def traces(logits: np.ndarray, labels: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Trace of each sample's Hessian in the logits, in float64.

    Parameters
    ----------
    logits : array of shape (N, K)
    labels : int64 array of shape (N,)
    gamma : float
        Of the focal loss.

    Returns
    -------
    focal, cross_entropy : ndarray
        Shape (N,), nats. Their closed forms are in `focal_curvature.analysis.theory`.
    """
    z, y = torch.from_numpy(logits).double(), torch.from_numpy(labels)

    def trace(loss: nn.Module) -> np.ndarray:
        def of_sample(z: Tensor, y: Tensor) -> Tensor:
            return loss(z[None], y[None])[0]

        curvature = vmap(hessian(of_sample))(z, y)
        return curvature.diagonal(dim1=1, dim2=2).sum(1).numpy()

    return trace(focal(gamma)), trace(focal(0))


def compare(
    logits: np.ndarray, labels: np.ndarray, gamma: float, points: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Hold the ratio of the two curvatures against its closed form.

    Parameters
    ----------
    logits : array of shape (N, K)
    labels : int64 array of shape (N,)
    gamma : float
        Of the focal loss, > 0.
    points : int
        Samples, evenly spaced in the order of the true class's probability, that are
        differentiated.

    Returns
    -------
    summary : dict
        Over all samples, by the closed form: mean traces ``focal`` and ``cross_entropy`` (nats),
        their ``ratio``, ``negative`` (fraction of samples where focal loss is concave on the
        whole); and ``largest_deviation`` of the differentiated ratio, relative to the closed form.
    rows : list of dict
        The differentiated samples: ``log_odds`` of the true class, ``ratio``, ``closed_form``,
        and for the bound ``removed``, ``full`` and ``true_class``: what focal loss takes off
        cross-entropy, and gamma times either entropy (nats).
    """
    told = theory.describe(logits, labels)
    ratio = theory.curvature_ratio(told.log_p, told.log_q, told.impurity, gamma)
    cross_entropy = theory.cross_entropy_curvature(told)
    order = np.argsort(told.log_p)
    sample = order[np.unique(np.linspace(0, len(order) - 1, points).round().astype(int))]
    by_focal, by_cross_entropy = traces(logits[sample], labels[sample], gamma)
    differentiated = by_focal / by_cross_entropy
    focal_mean = float((ratio * cross_entropy).mean())
    summary = {
        "samples": len(ratio),
        "focal": focal_mean,
        "cross_entropy": float(cross_entropy.mean()),
        "ratio": focal_mean / float(cross_entropy.mean()),
        "negative": float((ratio < 0).mean()),
        "largest_deviation": float(np.abs(differentiated / ratio[sample] - 1).max()),
    }
    columns = {
        "log_odds": (told.log_p - told.log_q)[sample],
        "ratio": differentiated,
        "closed_form": ratio[sample],
        "removed": theory.removed_loss(told, gamma)[sample],
        "full": theory.allowance(told, gamma)[sample],
        "true_class": theory.allowance(told, gamma, "true class")[sample],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in np.stack([*columns.values()], 1)]
    return summary, rows
