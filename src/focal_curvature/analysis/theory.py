"""What theory says of focal loss sample by sample: its bound, and its curvature in the logits.

Everything depends on the true class's probability p and on how the other classes share 1 - p.
All of it is computed from logarithms, so that saturated predictions count like any others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from focal_curvature.calibration.probabilities import check_logits, log_softmax

ENTROPIES = ("full", "true class")
ROUNDING = 1e-9  # relative to the terms compared: below, two numbers are equal


@dataclass(frozen=True)
class Predictions:
    """Predictions as seen from the true class, arrays of shape (N,), float64.

    Attributes
    ----------
    log_p, log_q : ndarray
        ln p of the true class, and ln(1 - p).
    entropy : ndarray
        Of the whole prediction, - sum_k p_k ln p_k, in nats.
    impurity : ndarray
        1 - sum_k (p_k / (1 - p))^2 over the other classes: 0 where one of them has all that is
        left (always, for two classes), (K - 2) / (K - 1) where they share it evenly.
    """

    log_p: np.ndarray
    log_q: np.ndarray
    entropy: np.ndarray
    impurity: np.ndarray


def describe(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    """Reduce predictions to what focal loss and its curvature depend on.

    Parameters
    ----------
    logits : array of shape (N, K), K > 1
        Finite.
    labels : integer array of shape (N,)
        True classes.

    Returns
    -------
    Predictions

    Raises
    ------
    ValueError
        For logits and labels that do not fit or are not finite.
    """
    from scipy.special import logsumexp

    check_logits(logits, labels, "predictions")
    log_v = log_softmax(logits)
    rows = np.arange(len(log_v))
    top = log_v.argmax(axis=1)
    # 1 - v rounds to zero for a confident class unless it is summed from the others
    others = log_v.copy()
    others[rows, top] = -np.inf
    log_rest = logsumexp(others, axis=1)
    log_v[rows, top] = np.log1p(-np.exp(log_rest))
    log_p = log_v[rows, labels]
    # the not chosen branch may take the logarithm of zero
    with np.errstate(divide="ignore"):
        log_q = np.where(top == labels, log_rest, np.log1p(-np.exp(log_p)))
    entropy = -(np.exp(log_v) * log_v).sum(axis=1)

    log_v[rows, labels] = -np.inf
    shares = np.exp(log_v - log_q[:, None])
    largest = shares.argmax(axis=1)
    small = shares.copy()
    small[rows, largest] = 0.0
    left = small.sum(axis=1)
    impurity = (small * (1.0 - small)).sum(axis=1) + (1.0 - left) * left
    return Predictions(log_p, log_q, entropy, impurity)


def removed_loss(predictions: Predictions, gamma: float) -> np.ndarray:
    """Return what focal loss takes off cross-entropy, (1 - (1 - p)^gamma)(-ln p), (N,) in nats."""
    return np.expm1(gamma * predictions.log_q) * predictions.log_p


def allowance(predictions: Predictions, gamma: float, entropy: str = "full") -> np.ndarray:
    """Return what the bound allows focal loss to take off cross-entropy, gamma * H.

    Kimura & Naganuma 2025 (arXiv 2405.00442), like Mukhoti et al. 2020 (arXiv 2002.09437), bound
    focal loss by L_FL >= L_CE - gamma * H with the entropy H of the prediction.

    With the full entropy and a one-hot target it holds for each sample and every gamma >= 0.
    With q = 1 - p, since 1 - exp(-x) <= x and since ln p ln q <= -p ln p - q ln q (Topsoe 2001,
    "Bounds for entropy and divergence for distributions over a two-element set"),

        L_CE - L_FL = (1 - q^gamma)(-ln p) <= gamma ln q ln p <= gamma (-p ln p - q ln q)
        <= gamma H.

    For a target that is a distribution both sides are averaged over it, so that it still holds.

    With the true class's term alone, H = -p ln p, it says (1 - p)^gamma >= 1 - gamma p. That is
    Bernoulli's inequality for gamma >= 1, an equation for gamma = 1, and wrong for 0 < gamma < 1
    wherever 0 < p < 1.

    Parameters
    ----------
    predictions : Predictions
    gamma : float
        Focusing parameter, >= 0.
    entropy : {"full", "true class"}
        Which entropy H stands for.

    Returns
    -------
    ndarray
        Shape (N,), in nats.

    Raises
    ------
    ValueError
        For another entropy.
    """
    if entropy not in ENTROPIES:
        raise ValueError(f"entropy must be one of {', '.join(ENTROPIES)}, not {entropy!r}")
    if entropy == "full":
        return gamma * predictions.entropy
    return -gamma * np.exp(predictions.log_p) * predictions.log_p


def bound(predictions: Predictions, gammas: Iterable[float]) -> list[dict[str, Any]]:
    """Hold L_FL >= L_CE - gamma * H against every sample.

    Parameters
    ----------
    predictions : Predictions
    gammas : iterable of float
        Focusing parameters of the loss.

    Returns
    -------
    list of dict
        A row per ``gamma`` and ``entropy``: ``samples``; ``holds``, the fraction of samples where
        it holds to a relative rounding of 1e-9; ``largest_violation`` (nats, 0 where it always
        holds); ``mean_slack``, and the means ``focal``, ``cross_entropy`` and ``entropy_mean``
        that it is made of (nats): the inequality of the expected losses.
    """
    rows = []
    for gamma in gammas:
        removed = removed_loss(predictions, gamma)
        for entropy in ENTROPIES:
            allowed = allowance(predictions, gamma, entropy)
            slack = allowed - removed
            holds = slack >= -ROUNDING * removed
            rows.append(
                {
                    "gamma": gamma,
                    "entropy": entropy,
                    "samples": len(slack),
                    "holds": float(holds.mean()),
                    "largest_violation": float(np.where(holds, 0.0, -slack).max()),
                    "mean_slack": float(slack.mean()),
                    "focal": float((-predictions.log_p - removed).mean()),
                    "cross_entropy": float(-predictions.log_p.mean()),
                    "entropy_mean": float(allowance(predictions, 1.0, entropy).mean()),
                }
            )
    return rows


def curvature_ratio(
    log_p: np.ndarray, log_q: np.ndarray, impurity: np.ndarray | float, gamma: float
) -> np.ndarray:
    """Ratio of focal loss's to cross-entropy's curvature: traces of the Hessians in the logits.

    For a loss phi(p) of the true class's probability, u = e_y - p_vector and
    dp/dz = p u, the Hessian in the logits z is

        a (diag(p_vector) - p_vector p_vector') + b u u',  a = -p phi',  b = p d(p phi')/dp.

    Cross-entropy has a = 1, b = 0. Focal loss, phi = -(1 - p)^gamma ln p, with q = 1 - p, has

        a = q^gamma - gamma p q^(gamma-1) ln p,
        b = gamma p q^(gamma-2) [q (2 + ln p) - (gamma - 1) p ln p].

    The ratio of traces is a + b |u|^2 / (1 - |p_vector|^2), where with the impurity i of the other
    classes |u|^2 = q^2 (2 - i) and 1 - |p_vector|^2 = q [p (2 - i) + i]. With two classes i = 0 and
    it is the ratio of the second derivatives in the binary logit: 0.38, 0.086, 0.015 at p = 0.9 for
    gamma = 1, 2, 3, and (1 + gamma)^2 (1 - p)^gamma as p goes to one. It is negative for a
    confident mistake, 2 + ln p well below zero: focal loss is not convex in the logits.

    Parameters
    ----------
    log_p, log_q : arrays of one shape
        ln p and ln(1 - p) of the true class.
    impurity : array or float
        See `Predictions`.
    gamma : float
        Focusing parameter, >= 0.

    Returns
    -------
    ndarray
        Of the same shape.
    """
    p, q = np.exp(log_p), np.exp(log_q)
    odds = np.divide(-log_p, q, out=np.ones_like(q), where=q > np.finfo(np.float64).tiny)
    weight = p * (2.0 - impurity)
    b = 2.0 + log_p + (gamma - 1.0) * p * odds
    # Where both round to zero, as for two classes at p < e^-745, weight is all there is.
    b = np.divide(b * weight, weight + impurity, out=b, where=weight + impurity > 0.0)
    return np.exp(gamma * log_q) * (1.0 + gamma * p * odds + gamma * b)


def cross_entropy_curvature(predictions: Predictions) -> np.ndarray:
    """Trace of cross-entropy's Hessian in the logits, 1 - sum_k p_k^2, (N,)."""
    weight = np.exp(predictions.log_p) * (2.0 - predictions.impurity)
    return np.exp(predictions.log_q) * (weight + predictions.impurity)
