"""Verdicts on simulated experiments whose truth is known."""

import copy
import gc
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from focal_curvature.analysis import claims, summary
from focal_curvature.analysis.evidence import TESTS, holm
from focal_curvature.config import ConfigError, load_claims

WORKFLOW = Path(__file__).parents[3] / "workflow"
SCHEMA = yaml.safe_load((WORKFLOW / "schemas/claims.schema.yaml").read_text())
RULES = yaml.safe_load((WORKFLOW / "claims.yaml").read_text()) | {"resamples": 999}
GAMMAS = (0, 0.5, 1, 2, 3, 5)


@pytest.fixture(autouse=True, scope="module")
def _quick_collection():
    """Let statsmodels' calls of gc.collect find little to go through."""
    gc.freeze()
    yield
    gc.unfreeze()


def experiment(
    seed=0,
    models=("cnn", "resnet"),
    seeds=5,
    trace=lambda gamma, noise: np.exp(noise),
    ece=lambda gamma, trace, noise: 0.05 + 0.01 * noise,
    gammas=GAMMAS,
):
    """Return runs whose traces (of either Hessian) and ECE are made by the functions given."""
    generator = np.random.default_rng(seed)
    rows = []
    for model in models:
        for gamma in gammas:
            for s in range(seeds):
                found = trace(gamma, generator.normal())
                row = {"model": model, "gamma": gamma, "seed": s, "status": "completed"}
                row |= {"objective": "ce" if gamma == 0 else f"focal-{gamma}", "accuracy": 0.9}
                for loss in ("objective", "cross_entropy"):
                    row |= {f"trace_{loss}": found, f"top_eigenvalue_{loss}": found / 10}
                error = ece(gamma, found, generator.normal())
                row |= {"ece": error, "ece_scaled": error / 2}
                rows.append(row | {"noise_floor": 0.005, "noise_floor_scaled": 0.005})
    return pd.DataFrame(rows)


def penalised(
    runs,
    seed=0,
    ece=0.0,
    accuracy=0.0,
    trace=0.5,
    noise=0.002,
    strengths=(0.1,),
    name="hessian_trace",
):
    """Add a penalty's arms to the plain runs' own values."""
    generator = np.random.default_rng(seed)
    plain = runs[runs["objective"] == "ce"]
    arms = []
    for strength in strengths:
        arm = plain.assign(objective=f"ce-{name}-{strength}", regulariser=name, gamma=np.nan)
        arm["ece"] += ece + noise * generator.normal(size=len(arm))
        arm["accuracy"] += accuracy + 0.001 * generator.normal(size=len(arm))
        arm["trace_cross_entropy"] *= trace
        arms.append(arm.assign(strength=strength))
    return pd.concat([runs, *arms], ignore_index=True)


def judged(runs, rules=RULES):
    table = claims.judge(runs, rules, "toy")
    assert list(table.columns) == claims.COLUMNS
    return table.set_index(["claim", "hessian_of", "model"]).sort_index()


def falling(gamma, noise):
    return np.exp(-gamma + 0.3 * noise)


def test_a_trend_is_supported_where_every_model_has_it():
    found = judged(experiment(trace=falling))
    row = found.loc[("c1_trace", "objective", "cnn")]
    assert row["verdict"] == "supported"
    assert row["high"] < row["estimate"] + 0.2 < 0
    assert row["p"] == pytest.approx(0.001)
    assert (row["seeds"], row["runs"]) == (5, 30)
    assert found.loc[("c1_trace", "objective", claims.ALL), "verdict"] == "supported"
    assert found.loc[("c1_top_eigenvalue", "objective", "cnn"), "estimate"] == row["estimate"]


def test_one_model_that_disagrees_contradicts_a_claim_about_all():
    rising = experiment(trace=lambda g, n: np.exp(g + n), models=["resnet"])
    found = judged(pd.concat([experiment(trace=falling, models=["cnn"]), rising]))
    verdicts = dict(found.loc[("c1_trace", "cross_entropy"), "verdict"])
    opposite = dict.fromkeys(["resnet", claims.ALL], "contradicted")
    assert verdicts == {"cnn": "supported"} | opposite
    reason = found.loc[("c1_trace", "cross_entropy", claims.ALL), "reason"]
    assert reason == "cnn supported; resnet contradicted"


def test_one_model_supports_nothing_in_general():
    found = judged(experiment(trace=falling, models=["cnn"]))
    assert found.loc[("c1_trace", "objective", "cnn"), "verdict"] == "supported"
    overall = found.loc[("c1_trace", "objective", claims.ALL)]
    assert overall["verdict"] == "inconclusive"
    assert "1 model" in overall["reason"]


def test_an_association_through_gamma_alone_is_none_within_gamma():
    runs = experiment(
        trace=lambda g, n: np.exp(g + 0.2 * n), ece=lambda g, t, n: 0.05 + 0.02 * g + 0.002 * n
    )
    found = judged(runs)["verdict"]
    assert found[("c2_overall", "cross_entropy", claims.ALL)] == "supported"
    assert found[("c2_temperature_scaled", "cross_entropy", "cnn")] == "supported"
    assert found[("c2_within_gamma", "cross_entropy", claims.ALL)] == "inconclusive"


def test_an_association_within_gamma_is_found():
    runs = experiment(seeds=8, ece=lambda g, t, n: 0.05 + 0.02 * np.log(t) + 0.002 * n)
    found = judged(runs).loc[("c2_within_gamma", "objective", claims.ALL)]
    assert found["verdict"] == "supported"
    assert found["estimate"] > 0.9


def test_differences_below_the_noise_floor_support_nothing():
    runs = experiment(trace=falling, ece=lambda g, t, n: 0.05 - 0.001 * g)
    found = judged(runs).loc[("c2_overall", "objective", "cnn")]
    assert found["p_holm"] < 0.05
    assert found["verdict"] == "inconclusive"
    assert "noise floor" in found["reason"]
    half = (found["high"] - found["low"]) / 2
    assert found["reason"].endswith(f"the interval's half-width is {half:.2f}")


def test_a_best_level_of_the_trace_is_found_and_a_monotone_relation_has_none():
    bowl = experiment(trace=falling, ece=lambda g, t, n: 0.03 + 0.03 * abs(g - 2) + 0.002 * n)
    row = judged(bowl).loc[("c2_best_level", "objective", "cnn")]
    assert row["verdict"] == "supported"
    assert 0 < row["low"] < row["estimate"] < row["high"]
    row = judged(bowl.assign(noise_floor=0.2)).loc[("c2_best_level", "objective", "cnn")]
    assert row["verdict"] == "inconclusive"
    assert "below its noise floor of 20.0" in row["reason"]
    assert row["reason"].endswith(half_width(row).removeprefix("the"))
    steep = experiment(trace=falling, ece=lambda g, t, n: 0.2 - 0.03 * g + 0.002 * n)
    verdicts = judged(steep).loc[("c2_best_level", "objective"), "verdict"]
    assert set(verdicts) == {"inconclusive"}


def test_an_inverted_u_contradicts_a_best_level():
    hill = experiment(trace=falling, ece=lambda g, t, n: 0.2 - 0.05 * abs(g - 2) + 0.002 * n)
    row = judged(hill).loc[("c2_best_level", "objective", "cnn")]
    assert row["verdict"] == "contradicted"
    assert row["high"] < 0


C3 = ("c3_hessian_trace", "cross_entropy")
ARMS = {
    "lowers ECE": ({"ece": -0.02}, "supported", "lowers ECE"),
    "changes nothing": ({"ece": 0.0}, "contradicted", "exclude a reduction of 0.5 points"),
    "raises ECE": ({"ece": 0.03}, "contradicted", "exclude"),
    "too noisy": ({"ece": 0.0, "noise": 0.03}, "inconclusive", "half-width"),
    "too little": ({"ece": -0.004, "noise": 0.0005}, "contradicted", "exclude"),
    "accuracy lost": ({"ece": -0.02, "accuracy": -0.05}, "inconclusive", "at equal accuracy"),
    "trace not lowered": ({"ece": -0.02, "trace": 1.5}, "inconclusive", "lowered the trace"),
}


@pytest.mark.parametrize(("arm", "verdict", "words"), ARMS.values(), ids=ARMS)
def test_a_penalty_is_judged_at_equal_accuracy_and_a_lower_trace(arm, verdict, words):
    row = judged(penalised(experiment(), **arm)).loc[(*C3, "cnn")]
    assert row["verdict"] == verdict
    assert words in row["reason"]
    assert (half_width(row) in row["reason"]) == (verdict == "inconclusive")


def half_width(row):
    return f"the interval's half-width is {50 * (row['high'] - row['low']):.1f} points"


def test_a_reduction_below_the_noise_floor_is_neither_an_effect_nor_none():
    runs = experiment(ece=lambda g, t, n: 0.1 + 0.001 * n).assign(noise_floor=0.02)
    row = judged(penalised(runs, ece=-0.012)).loc[(*C3, "cnn")]
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "inconclusive"
    assert row["reason"] == (
        f"the reduction is below the noise floor of 2.0 points; {half_width(row)}"
    )


def test_a_noisy_strength_does_not_hide_one_that_works():
    runs = experiment()
    both = pd.concat(
        [
            penalised(runs, ece=-0.02),
            penalised(runs, ece=-0.03, noise=0.05, strengths=(0.2,)).query("objective != 'ce'"),
        ]
    )
    both = both[~both.duplicated(["model", "objective", "seed"])]
    row = judged(both).loc[(*C3, "cnn")]
    assert row["verdict"] == "supported"
    assert "ce-hessian_trace-0.1" in row["reason"]


def test_a_penalty_is_paired_with_the_plain_run_of_the_same_seed():
    """Seeds differ far more than the arms do: unpaired, nothing could be seen."""
    runs = experiment(ece=lambda g, t, n: 0.2 + 0.05 * n)
    row = judged(penalised(runs, ece=-0.02)).loc[(*C3, "cnn")]
    arm = penalised(runs, ece=-0.02)
    two = [arm[(arm["model"] == "cnn") & (arm["objective"] == o)] for o in ("ce", row_arm(arm))]
    wanted = stats.ttest_rel(two[1]["ece"], two[0]["ece"])
    assert row["verdict"] == "supported"
    assert row["p"] == pytest.approx(wanted.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(wanted.confidence_interval()))


def row_arm(runs):
    return runs["objective"].iloc[-1]


def test_strengths_are_corrected_for_and_one_that_works_is_enough():
    runs = experiment()
    one = judged(penalised(runs, ece=-0.02)).loc[(*C3, "cnn")]
    arms = penalised(runs, ece=-0.02)
    more = penalised(runs, ece=0.0, seed=1, strengths=(0.2, 0.3, 0.4))
    both = pd.concat([arms, more[more.get("regulariser").notna()]])
    three = judged(both).loc[(*C3, "cnn")]
    assert three["verdict"] == "supported"
    assert three["estimate"] == one["estimate"]
    assert three["p"] == pytest.approx(4 * one["p"])


def test_where_cross_entropy_is_calibrated_a_penalty_cannot_help():
    runs = experiment(ece=lambda g, t, n: 0.008 + 0.0001 * n)
    row = judged(penalised(runs)).loc[(*C3, "cnn")]
    assert row["verdict"] == "inconclusive"
    assert "no room" in row["reason"]
    assert row["reason"].endswith(half_width(row))


def test_without_the_arms_a_claim_is_not_tested():
    found = judged(experiment())
    row = found.loc[(*C3, claims.ALL)]
    assert (row["verdict"], row["reason"]) == ("not tested", "no usable runs of hessian_trace")
    controls = experiment().assign(gamma=np.nan, objective="brier")
    found = judged(controls)
    assert set(found["verdict"]) == {"not tested"}
    assert found["estimate"].isna().all()


def test_few_seeds_give_no_verdict():
    found = judged(penalised(experiment(trace=falling, seeds=4), ece=-0.02))
    c3 = found.loc[C3]
    assert set(found.loc["c1_trace", "verdict"]) == {"inconclusive"}
    assert set(c3["verdict"]) == {"inconclusive"}
    assert "4 usable seeds, at least 5 needed" in c3.loc["cnn", "reason"]
    assert found.loc[("c1_trace", "objective", "cnn"), "seeds"] == 4
    assert set(judged(experiment(seeds=1))["verdict"]) == {"inconclusive", "not tested"}


def test_diverged_and_unmeasured_runs_do_not_count():
    runs = experiment(trace=falling, seeds=7)
    known = judged(runs[runs["seed"] < 5].assign(x=0))
    lost = runs.copy()
    lost.loc[lost["seed"] == 5, "status"] = "diverged"
    lost.loc[lost["seed"] == 6, ["trace_objective", "top_eigenvalue_objective"]] = np.nan
    lost.loc[lost["seed"] == 6, ["trace_cross_entropy", "top_eigenvalue_cross_entropy"]] = np.inf
    pd.testing.assert_frame_equal(judged(lost), known)


def test_a_model_without_a_usable_run_leaves_the_claim_open():
    runs = experiment(trace=falling)
    runs.loc[runs["model"] == "resnet", "status"] = "diverged"
    verdicts = judged(runs)["verdict"]
    assert verdicts[("c1_trace", "objective", "cnn")] == "supported"
    assert verdicts[("c1_trace", "objective", "resnet")] == "not tested"
    assert verdicts[("c1_trace", "objective", claims.ALL)] == "inconclusive"
    assert verdicts[("c2_within_gamma", "objective", claims.ALL)] == "inconclusive"


def test_what_never_varies_settles_nothing():
    found = judged(experiment(ece=lambda g, t, n: 0.05))
    assert set(found.loc["c2_overall", "verdict"]) == {"inconclusive"}
    assert "never varies" in found.loc[("c2_overall", "objective", "cnn"), "reason"]
    assert set(found.loc["c2_best_level", "verdict"]) == {"inconclusive"}


def test_few_gammas_are_no_trend():
    found = judged(experiment(gammas=(0, 2)))
    assert found.loc[("c1_trace", "objective", "cnn"), "verdict"] == "not tested"


def test_the_order_of_the_rows_is_of_no_matter():
    runs = penalised(experiment(), ece=-0.02)
    shuffled = runs.groupby("model", group_keys=False)[list(runs)].apply(
        lambda group: group.sample(frac=1, random_state=1)
    )
    pd.testing.assert_frame_equal(judged(shuffled), judged(runs))


def test_holm_is_by_family_and_by_hand():
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    found = judged(experiment(seed=3))
    for _, family in found.groupby("family"):
        wanted = holm(family["p"])
        np.testing.assert_allclose(family["p_holm"], wanted)


def support_without_an_effect(claim, make, n=100):
    """Count how often a claim is supported over experiments in which nothing has an effect."""
    rules = RULES | {"claims": {claim: RULES["claims"][claim] | {"smallest_effect": 1e-9}}}
    experiments = (make(i).assign(noise_floor=0) for i in range(n))
    found = [claims.judge(runs, rules, "null")["verdict"].iloc[0] for runs in experiments]
    return found.count("supported")


def test_without_an_effect_a_penalty_is_hardly_ever_supported():
    def make(i):
        return penalised(experiment(i, models=["cnn"], gammas=[0]), i, strengths=(0.1, 1, 10))

    assert support_without_an_effect(C3[0], make) <= stats.binom.ppf(0.999, 100, 0.025)


def test_without_an_effect_a_best_level_is_hardly_ever_supported():
    found = support_without_an_effect("c2_best_level", lambda i: experiment(i, models=["cnn"]))
    assert found <= stats.binom.ppf(0.999, 100, 0.025)


def test_the_words_are_the_verdicts():
    known = {
        "supported": "the data support that",
        "contradicted": "the data contradict that",
        "inconclusive": "the data do not settle whether",
        "not tested": "it was not tested whether",
    }
    runs = experiment(trace=falling, ece=lambda g, t, n: 0.05 + 0.05 * g + 0.01 * n)
    found = judged(penalised(runs, ece=-0.02))
    assert set(found["verdict"]) == set(known)
    for _, row in found.iterrows():
        said = [verdict for verdict, words in known.items() if words in row["sentence"]]
        assert said == [row["verdict"]]
        assert row["reason"] in row["sentence"]


def test_the_file_holds_every_number_and_is_plain_json():
    table = claims.judge(experiment(trace=falling), RULES, "toy")
    found = json.loads(json.dumps(claims.to_json(table, RULES, "toy"), allow_nan=False))
    assert found["experiment"] == "toy"
    assert found["rules"]["alpha"] == RULES["alpha"]
    first = found["claims"][0]
    assert first["interval"] == [table["low"][0], table["high"][0]]
    assert found["claims"][-1]["estimate"] is None
    assert len(found["claims"]) == len(table)


def test_tables_are_written_in_four_formats(tmp_path):
    table = claims.judge(experiment(trace=falling), RULES, "toy")
    files = [tmp_path / f"claims.{kind}" for kind in ("csv", "md", "tex", "html")]
    summary.write(table, claims.printed(table), files)
    assert len(pd.read_csv(files[0])) == len(table)
    assert "ρ -0." in files[1].read_text()
    assert r"$\rho$ -0." in files[2].read_text()
    assert "ρ" not in files[2].read_text()
    assert files[3].read_text().count("<tr>") == len(table)


def test_the_rules_are_valid_and_complete():
    assert load_claims(RULES, SCHEMA) == RULES
    assert {claim["test"] for claim in RULES["claims"].values()} == set(TESTS)


MISTAKES = {
    "unknown test": (
        ("claims", "c1_trace", "test"),
        "tend",
        ["c1_trace.test", "did you mean trend"],
    ),
    "no test": (("claims", "c1_trace", "test"), None, ["claims.c1_trace.test", "is missing"]),
    "unknown key": (("claims", "c1_trace", "score"), "ece", ["c1_trace.score", "unknown"]),
    "lacking": (("claims", "c2_overall", "score"), None, ["claims.c2_overall.score", "missing"]),
    "text for number": (("alpha",), "5e-2", ["alpha", "write 5.0e-2"]),
    "no seeds": (("minimum_seeds",), 1, ["minimum_seeds", "at least 2"]),
    "direction": (("claims", "c1_trace", "direction"), "down", ["c1_trace.direction", "falls"]),
    "Hessian": (("claims", "c1_trace", "hessian_of"), ["ce"], ["hessian_of[0]", "cross_entropy"]),
    "margin": (("claims", C3[0], "accuracy_margin"), 1, ["accuracy_margin", "less than 1"]),
    "no claims": (("claims",), {}, ["claims", "empty"]),
}


@pytest.mark.parametrize(("path", "value", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_rules_is_one_clear_line(path, value, words):
    rules = copy.deepcopy(RULES)
    place = rules
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(ConfigError) as error:
        load_claims(rules, SCHEMA)
    (line,) = str(error.value).splitlines()
    assert all(word in line for word in words)


def test_rules_that_are_no_mapping_are_told(tmp_path):
    with pytest.raises(ConfigError, match="not a mapping"):
        load_claims(None, SCHEMA)
