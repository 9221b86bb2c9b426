"""Scores of confidence from logits and labels: numpy only, never a model.

Every score is a fraction, not a percentage. Importing this package loads numpy alone; netcal,
relplot and scipy are imported by the functions that call them.
"""

from focal_curvature.calibration.binning import (
    calibration_error_debiased,
    expected_calibration_error,
    noise_floor,
    reliability_table,
)
from focal_curvature.calibration.evaluation import Calibration, Recalibrated, score
from focal_curvature.calibration.fit import Fit, fit
from focal_curvature.calibration.posterior import log_psi, psi
from focal_curvature.calibration.probabilities import log_softmax
from focal_curvature.calibration.recalibration import Recalibration, recalibrate
from focal_curvature.calibration.scores import Scores, measure
from focal_curvature.calibration.temperature import Temperature, fit_temperature, refinement

__all__ = [
    "Calibration",
    "Fit",
    "Recalibrated",
    "Recalibration",
    "Scores",
    "Temperature",
    "calibration_error_debiased",
    "expected_calibration_error",
    "fit",
    "fit_temperature",
    "log_psi",
    "log_softmax",
    "measure",
    "noise_floor",
    "psi",
    "recalibrate",
    "refinement",
    "reliability_table",
    "score",
]
