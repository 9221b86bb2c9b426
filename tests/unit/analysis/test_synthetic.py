"""The problem of known posterior: its posterior, its networks, and what recovers it."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from focal_curvature.analysis import synthetic


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for each other on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_posterior_is_bayes_rule():
    points = np.random.default_rng(0).normal(size=(20, 2)) * 2
    densities = np.stack(
        [
            multivariate_normal(centre, width**2).pdf(points)
            for centre, width in zip(synthetic.CENTRES, synthetic.WIDTHS, strict=True)
        ],
        axis=1,
    )
    expected = densities / densities.sum(1, keepdims=True)
    assert np.exp(synthetic.log_posterior(points)) == pytest.approx(expected)


def test_samples_come_from_the_stated_gaussians():
    points, labels = synthetic.draw(60_000, torch.Generator().manual_seed(0))
    for k, (centre, width) in enumerate(zip(synthetic.CENTRES, synthetic.WIDTHS, strict=True)):
        own = points[labels == k].numpy()
        assert len(own) / 60_000 == pytest.approx(1 / 3, abs=0.01)
        assert own.mean(0) == pytest.approx(centre, abs=0.03)
        assert own.std(0) == pytest.approx([width, width], rel=0.02)


def test_networks_side_by_side_do_not_see_each_other():
    points = torch.randn(5, 2)
    both = synthetic.train([1, 3], steps=10, seed=0)(points)
    alone = synthetic.train([3], steps=10, seed=0)(points)
    torch.testing.assert_close(both[1], alone[0])
    assert not torch.allclose(both[0], both[1])


def test_errors_of_the_truth_are_nothing_and_of_another_what_they_are():
    truth = np.log([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    assert synthetic.errors(truth, truth) == dict.fromkeys(synthetic.errors(truth, truth), 0)
    found = synthetic.errors(truth, np.log([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]]))
    assert found["mean_absolute_error"] == pytest.approx(0.4 / 6)
    assert found["confidence_bias"] == pytest.approx(-0.1)
    expected = (0.7 * np.log(0.7 / 0.5) + 0.2 * np.log(0.5)) / 2
    assert found["kullback_leibler"] == pytest.approx(expected)


def test_psi_recovers_the_posterior_and_the_raw_softmax_is_under_confident():
    scores, points, plane = synthetic.experiment([3], 250, 0, samples=5000, shown=50)
    found = {row["variant"]: row for row in scores}
    assert found["raw"]["confidence_bias"] < -0.15
    assert abs(found["psi"]["confidence_bias"]) < 0.02
    assert found["psi"]["mean_absolute_error"] < found["scaled"]["mean_absolute_error"]
    assert found["scaled"]["mean_absolute_error"] < found["raw"]["mean_absolute_error"] / 3
    assert len(points) == 50
    assert {row["variant"] for row in plane} == {"true", *synthetic.VARIANTS}
