import numpy as np
import pytest

from focal_curvature.calibration import fit


def test_the_gap_is_the_training_splits_less_the_test_splits():
    # Probabilities 3/4 and 1/4 on training images, all right; 1/2 each on test images, half right.
    train = np.log([[3.0, 1.0], [1.0, 3.0]])
    test = np.zeros((4, 2), np.float32)
    result = fit(train, np.array([0, 1]), test, np.array([0, 0, 1, 1]))
    assert result.train_accuracy == 1
    assert result.train_nll == pytest.approx(np.log(4 / 3))
    assert result.generalisation_gap_accuracy == 0.5
    assert result.generalisation_gap_nll == pytest.approx(np.log(4 / 3) - np.log(2))
    assert result.logit_norm == 0


def test_the_norm_of_logits_is_blind_to_what_probabilities_are_blind_to():
    labels = np.array([0, 0])
    logits = np.array([[3.0, -3.0], [1.0, -1.0]])
    norms = [fit(x, labels, x, labels).logit_norm for x in (logits, logits + 100, 2 * logits)]
    assert norms == pytest.approx([2 * 2**0.5, 2 * 2**0.5, 4 * 2**0.5])
