"""One trained model's calibration, from its logits: as it is, temperature-scaled, Psi undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from focal_curvature.calibration.binning import reliability_table
from focal_curvature.calibration.posterior import log_psi
from focal_curvature.calibration.probabilities import check_logits, log_softmax
from focal_curvature.calibration.recalibration import recalibrate
from focal_curvature.calibration.scores import Scores, measure
from focal_curvature.calibration.temperature import fit_temperature


@dataclass(frozen=True)
class Recalibrated:
    """Scores after a recalibration that was fitted on the validation split.

    Attributes
    ----------
    parameters : int
        How many numbers were fitted.
    at_bound : bool
        Whether the validation split does not determine them; see `Recalibration`.
    scores : Scores
    """

    parameters: int
    at_bound: bool
    scores: Scores


@dataclass(frozen=True)
class Calibration:
    """Calibration of one model on one split.

    Attributes
    ----------
    samples, classes : int
        Shape of the logits.
    bins : int
        Number of bins of every binned score.
    gamma : float or None
        Focusing parameter whose posterior map was undone, where one was.
    seed : int
        Seed of the noise floor's draws.
    criterion : str
        What the temperature minimises on the validation split: "nll" or "ece".
    temperature : float
        The temperature fitted on the validation split.
    temperature_at_bound : bool
        Whether these data do not determine it; see `Temperature`.
    validation_samples : int
        Number of samples that it was fitted on.
    before, after : Scores
        Of the logits as they are, and divided by the temperature.
    psi : Scores or None
        With focal loss's posterior map undone and no temperature; None without gamma > 0.
    recalibrations : dict
        Name -> `Recalibrated`, of those that were asked for.
    reliability : tuple of dict
        Rows of `reliability_table`, each with its "variant": "before", "after" or "psi".
    """

    samples: int
    classes: int
    bins: int
    gamma: float | None
    seed: int
    criterion: str
    temperature: float
    temperature_at_bound: bool
    validation_samples: int
    before: Scores
    after: Scores
    psi: Scores | None
    recalibrations: dict[str, Recalibrated]
    reliability: tuple[dict[str, str | float | int | None], ...]

    def to_dict(self) -> dict:
        """All but the reliability rows, as plain Python values that JSON takes."""
        record = asdict(self)
        del record["reliability"]
        return record


def _array(values: Any) -> np.ndarray:
    """Return an array's, a list's or a tensor's numbers."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    # numpy has no bfloat16.
    return np.asarray(values.double() if values.is_floating_point() else values)


def score(
    logits: np.ndarray,
    labels: np.ndarray,
    validation_logits: np.ndarray,
    validation_labels: np.ndarray,
    bins: int = 15,
    gamma: float | None = None,
    seed: int = 0,
    criterion: str = "nll",
    recalibrations: Sequence[str] = (),
) -> Calibration:
    """Score a model's logits before and after temperature scaling, and with Psi undone.

    Parameters
    ----------
    logits, labels : arrays of shape (N, K) and (N,)
        The split to score, usually the test split; labels are integers. Tensors will do.
    validation_logits, validation_labels : arrays of shape (M, K) and (M,)
        The split on which the temperature is fitted.
    bins : int
        Number of bins of every binned score.
    gamma : float, optional
        Focusing parameter of the focal loss that the model was trained with; above 0, its
        posterior map is undone as a third variant.
    seed : int
        Seed of the noise floor's draws.
    criterion : {"nll", "ece"}
        What the temperature minimises; see `fit_temperature`.
    recalibrations : sequence of str
        Further maps to fit on the validation split and to score, of `recalibration.METHODS`.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        For logits that are probabilities or not finite, shapes or labels that do not fit, no bins,
        a negative gamma, or an unknown criterion or recalibration.
    """
    logits, labels, validation_logits, validation_labels = (
        _array(values) for values in (logits, labels, validation_logits, validation_labels)
    )
    for name, split in (
        ("test", (logits, labels)),
        ("validation", (validation_logits, validation_labels)),
    ):
        check_logits(*split, name)
        # Of one class, 1 is all that there is.
        sums = split[0].sum(axis=1, dtype=np.float64)
        if split[0].shape[1] > 1 and split[0].min() >= 0 and np.allclose(sums, 1, atol=1e-3):
            raise ValueError(f"{name}: logits are probabilities, with a sum of 1: take their log")
    if (one := logits.shape[1]) != (other := validation_logits.shape[1]):
        raise ValueError(f"test and validation logits are of {one} and {other} classes")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    temperature = fit_temperature(validation_logits, validation_labels, criterion, bins)
    logits = logits.astype(np.float64)
    variants = {"before": log_softmax(logits), "after": log_softmax(logits / temperature.value)}
    if gamma:
        variants["psi"] = log_psi(variants["before"], gamma)
    scores = {name: measure(values, labels, bins, seed) for name, values in variants.items()}
    further = {}
    for name in recalibrations:
        fitted = recalibrate(name, validation_logits, validation_labels)
        further[name] = Recalibrated(
            fitted.parameters,
            fitted.at_bound,
            measure(fitted.log_probabilities(logits), labels, bins, seed),
        )
    return Calibration(
        samples=logits.shape[0],
        classes=logits.shape[1],
        bins=int(bins),
        gamma=gamma,
        seed=seed,
        criterion=criterion,
        temperature=temperature.value,
        temperature_at_bound=temperature.at_bound,
        validation_samples=len(validation_labels),
        before=scores["before"],
        after=scores["after"],
        psi=scores.get("psi"),
        recalibrations=further,
        reliability=tuple(
            {"variant": name} | row
            for name, values in variants.items()
            for row in reliability_table(
                np.exp(values.max(axis=1)), values.argmax(axis=1) == labels, bins
            )
        ),
    )
