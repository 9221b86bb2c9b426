"""Recalibration on the validation split beside one temperature: several parameters, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from focal_curvature.calibration.posterior import log_psi
from focal_curvature.calibration.probabilities import check_logits, log_softmax
from focal_curvature.calibration.temperature import fit_temperature

GAMMAS = np.arange(0, 21) / 2


@dataclass(frozen=True)
class Recalibration:
    """A map from logits to recalibrated predictions.

    Attributes
    ----------
    log_probabilities : callable
        Logits (N, K) -> natural logarithms of probabilities (N, K), float64.
    parameters : int
        How many numbers were fitted.
    at_bound : bool
        Whether the fit has no optimum that the data determine: a search ended at its limit.
    """

    log_probabilities: Callable[[np.ndarray], np.ndarray]
    parameters: int
    at_bound: bool


def fit_vector(logits: np.ndarray, labels: np.ndarray) -> Recalibration:
    """Fit vector scaling (Guo et al. 2017, arXiv 1706.04599): a factor and a bias per class.

    Of logits less their sample's mean, so that what softmax does not see makes no difference.

    Parameters
    ----------
    logits : array of shape (M, K)
        Finite scores on the validation split.
    labels : integer array of shape (M,)
        True classes.

    Returns
    -------
    Recalibration
        Of least negative log-likelihood, sought by L-BFGS from factors of 1 and biases of 0.
    """
    return _fit_affine(logits, labels, diagonal=True)


def fit_matrix(logits: np.ndarray, labels: np.ndarray) -> Recalibration:
    """Fit matrix scaling (Guo et al. 2017, arXiv 1706.04599): logits W z + b, without a penalty.

    With K classes that are K (K + 1) numbers, which small validation splits do not determine.
    Parameters and result as of `fit_vector`.
    """
    return _fit_affine(logits, labels, diagonal=False)


def fit_isotonic(logits: np.ndarray, labels: np.ndarray) -> Recalibration:
    """Fit an isotonic regression per class (Zadrozny and Elkan 2002), by scikit-learn.

    Each class's probability is mapped on its own, and the results are normalised. They may be
    exact zeros: as in Berta et al. 2025 (arXiv 2501.19195), 1/(M + 1) of the uniform distribution
    is mixed in. Parameters and result as of `fit_vector`.
    """
    from sklearn.isotonic import IsotonicRegression

    samples, classes = logits.shape
    probabilities = np.exp(log_softmax(logits))
    maps = [
        IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
            probabilities[:, k], labels == k
        )
        for k in range(classes)
    ]

    def apply(other: np.ndarray) -> np.ndarray:
        given = np.exp(log_softmax(other))
        mapped = np.stack([m.predict(p) for m, p in zip(maps, given.T, strict=True)], axis=1)
        total = mapped.sum(axis=1, keepdims=True)
        shares = np.where(total > 0, mapped / np.where(total > 0, total, 1), 1 / classes)
        return np.log((samples * shares + 1 / classes) / (samples + 1))

    return Recalibration(apply, sum(len(m.X_thresholds_) for m in maps), False)


def fit_focal_temperature(logits: np.ndarray, labels: np.ndarray) -> Recalibration:
    """Fit focal temperature scaling (Komisarenko and Kull 2024, arXiv 2408.11598).

    A temperature, then focal loss's confidence-raising map, which is Psi: the pair of least
    negative log-likelihood, gamma on the grid 0, 0.5, ..., 10, the temperature for each by scipy's
    bounded minimiser within a factor of 20 of that for gamma 0. Parameters and result as of
    `fit_vector`.
    """
    from scipy.optimize import minimize_scalar

    plain = fit_temperature(logits, labels)
    rows = np.arange(len(labels))
    bounds = np.log(plain.value) + np.array([-1, 1]) * np.log(20)
    scaled = np.asarray(logits, dtype=np.float64)

    def fitted(gamma: float) -> tuple[float, float, float]:
        def nll(log_t: float) -> float:
            values = log_psi(log_softmax(scaled * np.exp(-log_t)), gamma)
            return float(-values[rows, labels].mean())

        best = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-4})
        return float(best.fun), gamma, float(np.exp(best.x))

    _, gamma, temperature = min(fitted(float(gamma)) for gamma in GAMMAS)
    return Recalibration(
        lambda other: log_psi(log_softmax(np.asarray(other, np.float64) / temperature), gamma),
        2,
        bool(plain.at_bound or gamma == GAMMAS[-1]),
    )


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Recalibration]] = {
    "vector": fit_vector,
    "matrix": fit_matrix,
    "isotonic": fit_isotonic,
    "focal_temperature": fit_focal_temperature,
}


def recalibrate(method: str, logits: np.ndarray, labels: np.ndarray) -> Recalibration:
    """Fit a method of `METHODS` on validation data.

    Parameters
    ----------
    method : {"vector", "matrix", "isotonic", "focal_temperature"}
    logits : array of shape (M, K)
        Finite scores on the validation split.
    labels : integer array of shape (M,)
        True classes.

    Returns
    -------
    Recalibration

    Raises
    ------
    ValueError
        For an unknown method, or input that `check_logits` refuses.
    """
    if method not in METHODS:
        raise ValueError(f"recalibration {method!r} is none of {', '.join(METHODS)}")
    check_logits(logits, labels, "validation")
    return METHODS[method](logits, labels)


def _fit_affine(logits: np.ndarray, labels: np.ndarray, diagonal: bool) -> Recalibration:
    from scipy.optimize import minimize

    # centred, which the softmax does not see, and of a common size, for the search alone
    inputs = _centred(logits)
    size = float(np.abs(inputs).max()) or 1.0
    inputs = inputs / size
    samples, classes = inputs.shape
    rows = np.arange(samples)
    start = np.ones(classes) if diagonal else np.eye(classes).ravel()

    def scores(parameters: np.ndarray, given: np.ndarray) -> np.ndarray:
        weights, bias = parameters[:-classes], parameters[-classes:]
        product = given * weights if diagonal else given @ weights.reshape(classes, classes).T
        return product + bias

    def nll(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values = log_softmax(scores(parameters, inputs))
        residual = np.exp(values)
        residual[rows, labels] -= 1
        residual /= samples
        slope = (residual * inputs).sum(axis=0) if diagonal else (residual.T @ inputs).ravel()
        return float(-values[rows, labels].mean()), np.append(slope, residual.sum(axis=0))

    best = minimize(
        nll,
        np.append(start * size, np.zeros(classes)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-13, "gtol": 1e-7},
    )
    right = scores(best.x, inputs).argmax(axis=1) == labels
    return Recalibration(
        lambda other: log_softmax(scores(best.x, _centred(other) / size)),
        len(best.x),
        # where no prediction is wrong the likelihood grows with the weights for ever
        bool(right.all()) or not best.success,
    )


def _centred(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    return logits - logits.mean(axis=1, keepdims=True)
