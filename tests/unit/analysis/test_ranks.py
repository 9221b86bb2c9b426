"""Rank correlations of arrays are scipy's."""

import numpy as np
import pytest
from scipy import stats

from focal_curvature.analysis import ranks


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 7, 4))
    return x.round(1), (x + y).round(1)  # with ties


def test_correlations_are_scipys(arrays):
    x, y = arrays
    wanted = [stats.spearmanr(x[:, i], y[:, i]).statistic for i in range(4)]
    np.testing.assert_allclose(ranks.correlation(x, y, axis=0), wanted)
    wanted = [stats.spearmanr(*pair).statistic for pair in zip(x, y, strict=True)]
    np.testing.assert_allclose(ranks.correlation(x, y, axis=1), wanted)


def test_leaving_one_out_is_the_correlation_of_the_rest(arrays):
    x, y = arrays
    found = ranks.leave_one_out(x, y)
    for i in range(len(x)):
        rest = ranks.correlation(np.delete(x, i, 0), np.delete(y, i, 0), axis=0)
        np.testing.assert_allclose(found[i], rest)


def test_what_does_not_vary_is_not_correlated(arrays):
    x, y = arrays
    assert not ranks.correlation(np.ones_like(x), y, axis=0).any()
    assert not ranks.leave_one_out(np.ones_like(x), y).any()


def test_the_step_is_that_of_one_exchange():
    order = np.arange(6.0)
    exchanged = order[[0, 1, 3, 2, 4, 5]]
    assert 1 - stats.spearmanr(order, exchanged).statistic == pytest.approx(ranks.step(6))
