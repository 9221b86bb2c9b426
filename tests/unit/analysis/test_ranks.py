"""Rank correlations: exact values, invariances, and error rates where the truth is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from focal_curvature.analysis.ranks import association, spearman


def grid(values, gammas=6, seeds=5, models=("m",)):
    """Return runs with columns x and y made by ``values(gamma, seed)`` arrays, per model."""
    rows = []
    for model in models:
        gamma, seed = np.meshgrid(np.arange(gammas), np.arange(seeds), indexing="ij")
        x, y = values(gamma, seed)
        table = {"model": model, "gamma": gamma.ravel(), "seed": seed.ravel()}
        rows.append(pd.DataFrame(table | {"x": x.ravel(), "y": y.ravel()}))
    return pd.concat(rows, ignore_index=True)


def rejections(values, within, n=400, resamples=199):
    """Count p-values below 0.05 over simulated experiments."""
    runs = (grid(lambda g, s, i=i: values(np.random.default_rng(i), g, s)) for i in range(n))
    return sum(association(r, "x", "y", within, resamples, 0).p <= 0.05 for r in runs)


def most(n, rate):
    """Return a count that chance exceeds once in a thousand times."""
    return stats.binom.ppf(0.999, n, rate)


@given(st.lists(st.tuples(*[st.integers(-3, 3)] * 2, st.integers(0, 3)), min_size=3, max_size=12))
def test_weighted_spearman_is_scipys_of_repeated_points(points):
    x, y, weights = np.array(points, float).T
    repeated = np.repeat([x, y], weights.astype(int), axis=1)
    (found,) = spearman(x, y, weights[None])
    if min(len(np.unique(values)) for values in repeated) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(*repeated)[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, "gamma"]))
def test_scale_and_order_of_the_rows_do_not_matter(seed, within):
    generator = np.random.default_rng(seed)
    runs = grid(lambda g, s: (generator.normal(size=g.shape), generator.normal(size=g.shape)))
    found = association(runs, "x", "y", within, 99, 0)
    other = runs.assign(x=np.exp(runs["x"]), y=runs["y"] ** 3 - 7).sample(frac=1, random_state=seed)
    assert association(other, "x", "y", within, 99, 0) == pytest.approx(found)
    turned = association(runs.assign(y=-runs["y"]), "x", "y", within, 99, 0)
    assert turned.estimate == pytest.approx(-found.estimate)


def test_the_estimate_within_gamma_is_the_mean_of_scipys():
    generator = np.random.default_rng(3)
    runs = grid(lambda g, s: generator.normal(size=(2, *g.shape)), models=("a", "b"))
    each = [stats.spearmanr(r["x"], r["y"])[0] for _, r in runs.groupby(["model", "gamma"])]
    found = association(runs, "x", "y", "gamma", 99, 0)
    assert found.estimate == pytest.approx(np.mean(each))
    assert found.low < found.estimate < found.high


def test_whole_seeds_are_permuted_within_gamma():
    """Of the 5! orders of five seeds, only that one and its reverse correlate as much."""
    found = association(grid(lambda g, s: (s + g, 1.0 * s)), "x", "y", "gamma", 4999, 0)
    assert found.estimate == 1
    assert found.p == pytest.approx(2 / 120, abs=0.006)


def test_seeds_that_lack_a_gamma_are_left_out_within_gamma():
    runs = grid(lambda g, s: (s + g, 1.0 * s), seeds=6)
    lacking = runs.drop(index=runs.index[0]).assign(y=lambda r: r["y"].where(r["seed"] > 0, 99))
    same = runs[runs["seed"] > 0]
    found, wanted = (association(r, "x", "y", "gamma", 99, 0) for r in (lacking, same))
    assert found == wanted


def test_missing_gammas_of_a_seed_are_no_hindrance_overall():
    runs = grid(lambda g, s: (g + 0.1 * s, g**2.0)).drop(index=[0, 7, 13])
    found = association(runs, "x", "y", None, 999, 0)
    assert found.estimate > 0.9
    assert found.p == pytest.approx(0.001)


@pytest.mark.parametrize("within", [None, "gamma"])
def test_a_constant_column_has_no_correlation(within):
    runs = grid(lambda g, s: (np.ones(g.shape), 1.0 * s + g))
    assert np.isnan(association(runs, "x", "y", within, 99, 0)).all()
    assert np.isnan(association(runs[:0], "x", "y", within, 99, 0).estimate)


def null_overall(generator, gamma, seed):
    """No relation; both have an effect of the seed."""
    effects = 2 * generator.normal(size=(2, 5))
    return generator.normal(size=(2, *gamma.shape)) + effects[:, seed]


def null_within(generator, gamma, seed):
    """Gamma moves both, and so do seeds, each for itself: no relation at one gamma."""
    return null_overall(generator, gamma, seed) + 5 * gamma


@pytest.mark.parametrize(
    ("values", "within"), [(null_overall, None), (null_within, "gamma")], ids=["overall", "within"]
)
def test_false_positives_are_as_rare_as_stated(values, within):
    assert rejections(values, within) <= most(400, 0.05)


def test_false_positives_overall_are_not_rarer_than_stated():
    assert rejections(null_overall, None) >= stats.binom.ppf(0.001, 400, 0.05)


def test_a_strong_relation_is_found():
    def overall(generator, gamma, seed):
        return gamma, gamma + generator.normal(size=gamma.shape)

    def within(generator, gamma, seed):
        x = generator.normal(size=5)[seed] + 0.2 * generator.normal(size=gamma.shape)
        return x + gamma, x - gamma + 0.2 * generator.normal(size=gamma.shape)

    assert rejections(overall, None, 50) == 50
    assert rejections(within, "gamma", 50) >= 30


def test_intervals_cover_the_truth_about_as_often_as_stated():
    """Five seeds, with effects of their own: plain percentiles cover it in 79%."""

    def draw(i):
        generator = np.random.default_rng(i)
        return grid(
            lambda g, s: (g, g + generator.normal(size=5)[s] + generator.normal(size=g.shape))
        )

    truth = np.mean([stats.spearmanr(*draw(i)[["x", "y"]].to_numpy().T)[0] for i in range(500)])
    found = [association(draw(i), "x", "y", None, 999, 0) for i in range(1000, 1250)]
    covered = sum(f.low <= truth <= f.high for f in found)
    assert stats.binom.ppf(0.001, 250, 0.9) <= covered


def test_one_seed_has_no_interval():
    found = association(grid(lambda g, s: (g, g**2.0), seeds=1), "x", "y", None, 999, 0)
    assert found.estimate == pytest.approx(1)
    assert np.isnan([found.low, found.high]).all()
