"""The two-lines test finds a U, and none in relations that only bend."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from focal_curvature.analysis.two_lines import two_lines

GAMMAS = np.repeat(np.arange(6.0), 5)  # six gammas of five seeds


def found(relation, noise, seed):
    """Return the test's lines for a noisy relation on x in 0 to 5, and the points."""
    generator = np.random.default_rng(seed)
    x = GAMMAS + generator.uniform(0, 0.9, len(GAMMAS))
    y = relation(x) + noise * generator.normal(size=len(x))
    return two_lines(x, y), x, y


def is_u(lines, alpha=0.05):
    (left, _, _, p), (right, _, _, q) = lines.left, lines.right
    return left < 0 < right and max(p, q) < alpha


def test_a_clear_u_is_found_with_its_bottom():
    lines, x, _ = found(lambda x: abs(x - 3), 0.05, 0)
    assert is_u(lines, 1e-6)
    assert lines.at == pytest.approx((x < 3).mean(), abs=0.1)
    assert lines.left[1] < lines.left[0] < lines.left[2] < 0 < lines.right[1]


def test_slopes_are_those_of_the_ranks():
    """Two lines on equally spaced ranks: slopes over the whole range, up to where the break is."""
    x = np.linspace(-1, 1, 41)
    lines = two_lines(x, np.where(x < 0, -2 * x, 3 * x))
    assert lines.left[0] == pytest.approx(-4, rel=0.06)
    assert lines.right[0] == pytest.approx(6, rel=0.06)
    assert lines.at == pytest.approx(0.5, abs=0.1)


def test_the_u_is_found_most_of_the_time():
    assert sum(is_u(found(lambda x: (x - 3) ** 2, 0.5, i)[0]) for i in range(100)) >= 90


@pytest.mark.parametrize("relation", [np.log1p, np.exp, lambda x: -np.exp(-x), lambda x: -x])
def test_a_bend_alone_is_no_u(relation):
    us = sum(is_u(found(relation, 0.2, i)[0]) for i in range(200))
    assert us <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_quadratic_fit_would_have_called_a_bend_a_u():
    _, x, y = found(np.log1p, 0.05, 1)
    fit = sm.OLS(-y, np.column_stack([np.ones_like(x), x, x * x])).fit()
    assert fit.pvalues[2] < 0.001


def test_without_a_relation_false_positives_are_rare():
    """A line goes significantly either way in about 5% each; both as in a U hardly ever."""
    lines = [found(lambda x: 0 * x, 1.0, i)[0] for i in range(300)]
    assert sum(is_u(line) for line in lines) <= 3
    against = sum(
        min(line.left[3] if line.left[0] > 0 else 1, line.right[3] if line.right[0] < 0 else 1)
        < 0.025
        for line in lines
    )
    assert against <= stats.binom.ppf(0.999, 300, 0.05)


def test_the_scale_of_x_is_of_no_matter():
    _, x, y = found(lambda x: (x - 2) ** 2, 1.0, 5)
    assert two_lines(np.exp(x) - 50, y) == two_lines(x, y)


def test_too_little_variation_gives_nothing():
    y = np.random.default_rng(0).normal(size=30)
    assert two_lines(np.ones(30), y) is None
    assert two_lines(y, np.ones(30)) is None
    assert two_lines(np.repeat([1.0, 2.0], 15), y) is None
    assert two_lines(y[:9], y[:9] ** 2) is None
