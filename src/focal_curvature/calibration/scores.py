"""Every score of one set of predicted probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from focal_curvature.calibration.binning import (
    bin_indices,
    calibration_error_debiased,
    expected_calibration_error,
    noise_floor,
)
from focal_curvature.calibration.temperature import refinement


@dataclass(frozen=True)
class Scores:
    """Scores of one set of predictions; all fractions, except nll's (nats) and squared ones.

    Attributes
    ----------
    accuracy : float
        Share of samples whose most probable class is the label.
    mean_confidence : float
        Mean probability of the predicted class.
    confidence_gap : float
        mean_confidence - accuracy; positive means over-confident.
    nll : float
        Mean negative log-likelihood of the label, in nats.
    nll_refinement : float
        The nll after the best temperature, fitted on these very predictions and labels; see
        `refinement`. Temperature scaling does not change it.
    nll_calibration : float
        The rest, nll - nll_refinement: what the best temperature takes away. Never negative.
    brier : float
        Mean squared distance of the probabilities from the one-hot label, 0 to 2 (Brier 1950).
    ece : float
        netcal's expected calibration error, equal-width bins (Naeini et al. 2015).
    mce : float
        netcal's maximum calibration error, the largest gap of a bin.
    average_calibration_error : float
        netcal's ACE: mean gap over the bins that hold samples, all of equal weight (Neumann et al.
        2018). Not the adaptive error of the same abbreviation.
    adaptive_ece : float
        Expected calibration error in bins of equal count (Nguyen & O'Connor 2015).
    classwise_ece : float
        Mean over classes of the equal-width error of each class's probability (Kull et al. 2019,
        arXiv 1910.12656).
    calibration_error_debiased : float
        Squared calibration error without its bias, in bins of equal count; see
        `calibration_error_debiased`. Around 0 for calibrated predictions, of either sign.
    smooth_ece : float
        relplot's SmoothECE, which needs no bins (Blasiok & Nakkiran 2024, arXiv 2309.12236).
    noise_floor, noise_floor_95 : float
        Mean and 95% quantile of the ece that a perfectly calibrated predictor with these
        confidences would score.
    """

    accuracy: float
    mean_confidence: float
    confidence_gap: float
    nll: float
    nll_refinement: float
    nll_calibration: float
    brier: float
    ece: float
    mce: float
    average_calibration_error: float
    adaptive_ece: float
    classwise_ece: float
    calibration_error_debiased: float
    smooth_ece: float
    noise_floor: float
    noise_floor_95: float


def measure(
    log_probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, seed: int = 0
) -> Scores:
    """Score predicted probabilities against labels.

    Parameters
    ----------
    log_probabilities : array of shape (N, K)
        Natural logarithms of the predicted probabilities, as from `log_softmax`.
    labels : integer array of shape (N,)
        True classes.
    bins : int
        Number of bins of every binned score.
    seed : int
        Seed of the noise floor's draws.

    Returns
    -------
    Scores
    """
    from netcal.metrics import ACE, ECE, MCE
    from relplot import smECE

    log_probabilities = np.asarray(log_probabilities, dtype=np.float64)
    probabilities = np.exp(log_probabilities)
    predicted = log_probabilities.argmax(axis=1)
    rows = np.arange(len(labels))
    confidence, correct = probabilities[rows, predicted], predicted == labels
    floor, floor_95 = noise_floor(confidence, bins, seed)

    # netcal takes any labels with one or two distinct values for a binary problem and then refuses
    # K columns; (confidence, correct) is the same top-label problem and always a binary one
    def by_netcal(metric: type) -> float:
        return metric(bins=int(bins)).measure(confidence, correct.astype(np.int64))

    nll = float(-log_probabilities[rows, labels].mean())
    # the search stops within rounding of the best temperature, which may be 1
    nll_refinement = min(refinement(log_probabilities, labels), nll)
    residual = probabilities.copy()
    residual[rows, labels] -= 1.0
    return Scores(
        accuracy=float(correct.mean()),
        mean_confidence=float(confidence.mean()),
        confidence_gap=float((confidence - correct).mean()),
        nll=nll,
        nll_refinement=nll_refinement,
        nll_calibration=nll - nll_refinement,
        brier=float(np.square(residual).sum(axis=1).mean()),
        ece=by_netcal(ECE),
        mce=by_netcal(MCE),
        average_calibration_error=by_netcal(ACE),
        adaptive_ece=adaptive_ece(confidence, correct, bins),
        classwise_ece=_classwise_ece(probabilities, residual, bins),
        calibration_error_debiased=calibration_error_debiased(confidence, correct, bins),
        smooth_ece=float(smECE(confidence, correct.astype(np.float64))),
        noise_floor=floor,
        noise_floor_95=floor_95,
    )


def essentials(log_probabilities: np.ndarray, labels: np.ndarray, bins: int) -> dict[str, float]:
    """Score predicted probabilities by what needs numpy and scipy alone, a tenth of `measure`.

    Parameters
    ----------
    log_probabilities, labels, bins
        As of `measure`.

    Returns
    -------
    dict
        accuracy, confidence_gap, nll, nll_refinement, ece and calibration_error_debiased, as of
        `Scores`.
    """
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == labels
    nll = float(-log_probabilities[np.arange(len(labels)), labels].mean())
    return {
        "accuracy": float(correct.mean()),
        "confidence_gap": float((confidence - correct).mean()),
        "nll": nll,
        "nll_refinement": min(refinement(log_probabilities, labels), nll),
        "ece": expected_calibration_error(confidence, correct, bins),
        "calibration_error_debiased": calibration_error_debiased(confidence, correct, bins),
    }


def adaptive_ece(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Return the expected calibration error in bins of equal count.

    netcal's own stops with an error when many confidences are equal. Here equal confidences share
    their mean accuracy before they are cut into bins, so the order of the samples never matters.

    Parameters
    ----------
    confidence : array of shape (N,)
        Probability of the predicted class.
    correct : array of shape (N,), bool or 0/1
        Whether the prediction is the label.
    bins : int
        Number of bins; their counts differ by at most 1.

    Returns
    -------
    float
        A fraction.
    """
    values, group, count = np.unique(confidence, return_inverse=True, return_counts=True)
    gap = values - np.bincount(group, weights=correct) / count
    parts = np.array_split(np.repeat(gap, count), bins)
    return float(sum(abs(part.sum()) for part in parts) / len(confidence))


def _classwise_ece(probabilities: np.ndarray, residual: np.ndarray, bins: int) -> float:
    samples, classes = probabilities.shape
    cell = bin_indices(probabilities, bins) + bins * np.arange(classes)
    sums = np.bincount(cell.ravel(), weights=residual.ravel())
    return float(np.abs(sums).sum() / (samples * classes))
