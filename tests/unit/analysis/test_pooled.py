"""The meta-analysis, by hand and on synthetic experiments."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from checkout import ROOT
from scipy import optimize, stats

from focal_curvature.analysis import pooled

FULL = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text())
RULES = FULL | {"resamples": 499, "resamples_replicated": 199, "replications": 4}


def only(name, **changes):
    return RULES | {"claims": {name: FULL["claims"][name] | changes}}


ONE = {"measures": ["trace"], "hessian_of": ["objective"]}


@pytest.fixture(scope="module")
def synthetic():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import rules

        yield rules


def named(runs, data_set):
    runs = runs.assign(dataset=data_set, nll=0.3)
    runs["objective"] = runs["gamma"].map(str) + runs["strength"].map(str)
    return runs


def test_the_pooled_effect_is_paule_mandels_with_knapp_and_hartungs_error():
    effects, errors = np.array([0.1, 0.5, 0.9, 0.3]), np.array([0.1, 0.2, 0.15, 0.1])

    def excess(tau2):
        weights = 1 / (errors**2 + tau2)
        mean = (weights * effects).sum() / weights.sum()
        return (weights * (effects - mean) ** 2).sum() - 3

    tau2 = optimize.brentq(excess, 0, 10)
    weights = 1 / (errors**2 + tau2)
    mean = (weights * effects).sum() / weights.sum()
    error = np.sqrt((weights * (effects - mean) ** 2).sum() / 3 / weights.sum())
    found = pooled.pool(effects, errors)
    assert found.estimate == pytest.approx(mean, rel=1e-4)
    assert found.error == pytest.approx(error, rel=1e-4)
    assert found.tau == pytest.approx(tau2**0.5, rel=1e-4)
    assert found.high == pytest.approx(mean + stats.t.ppf(0.975, 3) * error, rel=1e-4)
    assert found.p == pytest.approx(2 * stats.t.sf(mean / error, 3), rel=1e-3)


def test_effects_that_agree_too_well_do_not_make_the_error_smaller():
    found = pooled.pool([0.3, 0.3, 0.3], [0.1, 0.1, 0.1])
    assert found.error == pytest.approx(0.1 / 3**0.5)


def test_runs_that_experiments_share_count_once(synthetic):
    runs = named(synthetic.experiment(synthetic.Truth(), 5, 0), "digits")
    other = named(synthetic.experiment(synthetic.Truth(), 5, 1), "digits")
    shared = pd.concat([runs[runs["gamma"].notna()], other[other["gamma"].isna()]])
    found = pooled.networks({"a": runs, "b": shared})
    assert [names for *_, names in found] == ["a+b", "a+b"]
    for own in found.values():
        assert own["gamma"].notna().sum() == 5 * 4
        assert own["strength"].notna().sum() == 5 * 4
    assert [names for *_, names in pooled.networks({"a": runs, "c": other})] == ["a", "a", "c", "c"]
    alone = pooled.networks({"a": runs, "b": runs})
    assert [len(own) for own in alone.values()] == [len(runs) // 2] * 2
    told = {"a": runs.assign(decided_by=range(len(runs)))}
    told["b"] = runs.assign(decided_by=range(1000, 1000 + len(runs)))
    assert len(pooled.networks(told)) == 4  # the same scores, but trained otherwise


@pytest.mark.parametrize("names", ["abc", "cab", "bca", "cba"])
def test_a_network_that_two_experiments_share_by_a_third_is_one(synthetic, names):
    runs = named(synthetic.experiment(synthetic.Truth(), 10, 0), "digits")
    runs = runs[runs["model"] == "one"]
    parts = {"a": runs[runs["seed"] < 5], "b": runs[runs["seed"] >= 5], "c": runs}
    ((key, own),) = pooled.networks({name: parts[name] for name in names}).items()
    assert key == ("digits", "one", "a+b+c")
    assert len(own) == len(runs)


def test_networks_said_to_be_trained_alike_are_one_whose_largest_experiment_counts(synthetic):
    drawn = [named(synthetic.experiment(synthetic.Truth(), n, n), "digits") for n in (6, 5)]
    experiments = dict(zip("ab", drawn, strict=True))
    assert len(pooled.networks(experiments)) == 4
    found = pooled.networks(experiments, [["b", "a"]])
    assert list(found) == [("digits", "one", "a+b"), ("digits", "two", "a+b")]
    assert pd.concat(found.values())["ece"].sort_values().tolist() == sorted(drawn[0]["ece"])


def test_a_condition_that_too_few_networks_have_supports_nothing(synthetic):
    """Of four networks gamma raises the curvature of two, which have no share by flattening."""
    truths = [synthetic._because(1.0), synthetic._because(1.0, fall=-0.5)]
    made = {
        name: named(synthetic.experiment(truth, 10, i), name)
        for i, (name, truth) in enumerate(zip("ab", truths, strict=True))
    }
    rules = only("c4_direct", **ONE, outcomes=["calibration_error_debiased"])
    (row,) = pooled.judge(made, rules).to_dict("records")
    assert (row["verdict"], row["effects"], row["part"]) == (
        *("mixed", 4),
        "gamma lowers the measure",
    )
    assert (row["networks_for"], row["networks_against"]) == (2, 2)
    assert "share above one half: 2 of 4 networks, too few to pool" in row["reason"]
    assert np.isnan(row["p_holm"])
    three = {
        name: named(synthetic.experiment(truths[0], 10, i), name) for i, name in enumerate("ac")
    }
    (row,) = pooled.judge(three, rules).to_dict("records")
    assert (row["verdict"], row["effects"]) == ("supported", 4)


def test_a_data_set_counts_once_however_many_networks_it_has(synthetic):
    rules = only("c1_ratio", **ONE)
    made = {
        name: named(synthetic.experiment(synthetic.Truth(synthetic._falling(by)), 6, i), name)
        for i, (name, by) in enumerate([("a", 0.5), ("b", 0.3)])
    }
    (row,) = pooled.judge(made, rules).to_dict("records")
    means = [
        np.mean([
            np.log(own[own["gamma"] == 3].set_index("seed")["trace_objective"]
                   / own[own["gamma"] == 0].set_index("seed")["trace_objective"]).mean()
            for (data_set, *_), own in pooled.networks(made).items() if data_set == name
        ])
        for name in made
    ]  # fmt: skip
    assert row["p_data_sets"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert row["p_data_sets"] > row["p"]


def test_a_claim_that_holds_everywhere_is_supported_and_one_that_does_not_is_not(synthetic):
    rules = only("c1_ratio", **ONE)
    falls = [synthetic.Truth(synthetic._falling(by)) for by in (0.5, 0.7, 0.6)]
    made = {
        name: named(synthetic.experiment(truth, 6, i), name)
        for i, (name, truth) in enumerate(zip("abc", falls, strict=True))
    }
    (row,) = pooled.judge(made, rules).to_dict("records")
    assert (row["verdict"], row["effects"], row["data_sets"]) == ("supported", 6, 3)
    assert 0.4 < row["low"] < row["estimate"] < row["high"] < 0.8
    assert (row["replication"], row["leave_one_out"], row["fragile"]) == (1, 0, False)
    up = named(synthetic.experiment(synthetic.Truth(synthetic._falling(-0.6)), 6, 3), "d")
    (row,) = pooled.judge(made | {"d": up}, rules).to_dict("records")
    assert (row["verdict"], row["networks_for"], row["networks_against"]) == ("mixed", 6, 2)
    assert row["tau"] > 0.3
    assert row["leave_one_out"] == 1
    printed = pooled.printed(pd.DataFrame([row]))
    assert (printed["Verdict"][0], printed["For, against"][0]) == ("mixed !", "6, 2")


def test_what_a_claim_was_made_from_is_no_test_of_it(synthetic):
    truth = replace(synthetic._because(0.0), mapped=1.0)
    made = {name: named(synthetic.experiment(truth, 6, i), name) for i, name in enumerate("abc")}
    rules = only("c5_map", found_in=["a"], outcomes=["confidence_gap"])
    (row,) = pooled.judge(made, rules).to_dict("records")
    assert (row["verdict"], row["effects"], row["data_sets"]) == ("supported", 4, 2)
    rules = only("c5_map", found_in=["a", "b", "c"], outcomes=["confidence_gap"])
    (row,) = pooled.judge(made, rules).to_dict("records")
    assert (row["verdict"], row["effects"]) == ("not tested", 0)


def test_networks_that_differ_by_chance_alone_do_not_disagree(synthetic):
    rules = only("c1_ratio", **ONE)
    made = {
        name: named(synthetic.experiment(synthetic.Truth(), 6, i), name)
        for i, name in enumerate("abcd")
    }
    (row,) = pooled.judge(made, rules).to_dict("records")
    assert row["verdict"] in ("inconclusive", "negligible")
    assert not row["networks_for"] * row["networks_against"]


def test_what_is_nowhere_tested_is_said(synthetic):
    runs = named(synthetic.experiment(synthetic.Truth(), 6, 0), "a")
    (row,) = pooled.judge({"a": runs}, only("c1_ratio", **ONE)).to_dict("records")
    assert (row["verdict"], row["reason"]) == ("inconclusive", "2 effects, too few to pool")
    without = runs.drop(columns="nll_refinement")
    rules = only("c3_gauss_newton_trace", outcomes=["nll_calibration"])
    (row,) = pooled.judge({"a": without}, rules).to_dict("records")
    assert (row["verdict"], row["effects"]) == ("not tested", 0)
    pooled.printed(pd.DataFrame([row]))
