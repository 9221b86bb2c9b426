"""Verdicts on simulated experiments whose truth is known."""

import copy
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from checkout import ROOT
from scipy import stats
from statsmodels.stats.multitest import multipletests

from focal_curvature import registry
from focal_curvature.analysis import claims, summary
from focal_curvature.analysis.evidence import (
    Evidence,
    Premise,
    decide,
    holm,
    mean_over_seeds,
    share,
    together,
)
from focal_curvature.analysis.questions import questions
from focal_curvature.claim_tests import matched_curvature
from focal_curvature.config import ConfigError, load_claims

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/claims.schema.yaml").read_text())
FULL = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text())
RULES = FULL | {"resamples": 499, "resamples_replicated": 199, "replications": 5}


@pytest.fixture(scope="module")
def rules_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import rules

        yield rules


@pytest.fixture(scope="module")
def runs(rules_module):
    """Curvature falls with gamma, and with it the outcome; the penalty does the same."""
    return rules_module.experiment(rules_module._because(1.0), 8, 0)


@pytest.fixture(scope="module")
def table(runs):
    return claims.judge(runs, RULES, "toy", CONTROLS)


CONTROLS = pd.DataFrame(
    {"model": model, "objective": "ce", "seed": 0, "control": control, "ece": ece}
    | {"trace": trace, "top_eigenvalue": trace / 10, "adaptive_sharpness": 1.0}
    for model in ("one", "two")
    for control, trace, ece in (
        ("none", 8.0, 0.05),
        ("dinh", 64.0, 0.05),
        ("temperature", 4.0, 0.02),
    )
)


def row(table, claim, model="one", **where):
    found = table[(table["claim"] == claim) & (table["model"] == model)]
    for key, value in where.items():
        found = found[found[key] == value]
    return found.iloc[0]


def test_what_is_judged_again_takes_as_many_resamples_as_the_rules_say(runs):
    taken = set()

    def evidence(data, question, generator):
        taken.add(question.rules["resamples"])
        return kind.evidence(data, question, generator)

    tests = claims.prepare(runs, RULES)
    kind = next(test.kind for test in tests if test.question.name == "c1_ratio")
    tests = [replace(test, kind=replace(kind, evidence=evidence)) for test in tests
             if test.question.name == "c1_ratio"]  # fmt: skip
    judgements = claims.evaluate(tests, RULES, 0)
    assert taken == {RULES["resamples"]}
    taken.clear()
    claims.replicate(tests, RULES, 0, judgements)
    assert taken == {RULES["resamples_replicated"]}


@pytest.mark.parametrize("ties", [(), (1, 2), (5, 2), (0, 1, 2, 3, 4)])
def test_a_curve_is_interpolated_as_numpy_does_it_row_by_row(ties):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(50, 6)), generator.normal(size=(50, 5))
    x[:, list(ties)] = x[:, list(ties)[:1]]
    expected = []
    for where, values, at in zip(x[:, :-1], y, x[:, -1], strict=True):
        order = where.argsort(kind="stable")
        expected.append(np.interp(at, where[order], values[order]))
    found = matched_curvature._on_the_curve(x[:, -1], x[:, :-1], y)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_every_question_is_answered_of_every_model_and_of_all(table):
    assert list(table.columns) == claims.COLUMNS
    asked = [q for name in RULES["claims"] for q in questions(name, RULES) if q.role == "decides"]
    deciding = table[table["role"] == "decides"]
    assert len(deciding) == 3 * len(asked)
    assert set(deciding["model"]) == {"one", "two", claims.ALL}
    assert deciding.loc[deciding["verdict"] != "not tested", "reason"].str.len().all()


def test_the_ratio_is_paired_by_seed(runs, table):
    found = row(table, "c1_ratio", measure="trace", hessian_of="objective", role="decides")
    wide = runs[(runs["model"] == "one")].pivot_table(
        index="seed", columns="gamma", values="trace_objective"
    )
    wanted = stats.ttest_rel(np.log(wide[3.0]), np.log(wide[0.0]))
    assert found["verdict"] == "supported"
    assert found["p"] == pytest.approx(wanted.pvalue)
    low, high = np.exp(wanted.confidence_interval())
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert (found["unit"], found["null"]) == ("ratio", 1)


def test_the_table_has_units_that_say_what_no_effect_is(table):
    counted = table[table["estimate"].notna()]
    nulls = counted.groupby("unit")["null"].unique().map(list).to_dict()
    assert nulls["ratio"] == [1]
    assert nulls["share"] == [0.5]
    assert set(counted["unit"]) == set(nulls) >= {"ρ", "pp²", "points", "nats"}


def test_curvature_that_is_not_positive_counts_as_the_least_and_is_told(runs):
    changed = runs.copy()
    bad = (runs["gamma"] == 3) & (runs["seed"] == 0) & (runs["model"] == "one")
    changed.loc[bad, "trace_objective"] = -5.0
    rules = only("c1_ratio")
    found = row(claims.judge(changed, rules, "toy"), "c1_ratio", measure="trace")
    assert "1 values that are not positive" in found["reason"]
    assert found["low"] > 0


def only(*names, **changes):
    return RULES | {"claims": {name: FULL["claims"][name] | changes for name in names}}


def test_what_is_beside_in_one_respect_is_as_what_decides_in_the_other():
    about = {"outcomes": ["ece"], "outcomes_beside": ["nll_calibration"]}
    rules = only("c5_map", **about, gammas=[3], gammas_beside=[1, 5])
    asked = [(q.role, q.outcome, q.gamma) for q in questions("c5_map", rules)]
    assert asked == [
        ("decides", "ece", 3),
        ("beside", "nll_calibration", 3),
        ("beside", "ece", 1),
        ("beside", "ece", 5),
    ]


def test_because_is_supported_where_all_the_effect_is_by_flattening(table):
    direct = row(table, "c4_direct", measure="trace", hessian_of="objective")
    assert direct["verdict"] == "supported"
    assert direct["low"] < 1 < direct["high"]
    # Rescaled layers move the trace and not calibration; the scale-invariant measure stays.
    kept = {m: row(table, "c4_function_kept", measure=m)["verdict"] for m in ("trace",)}
    assert kept == {"trace": "contradicted"}
    assert row(table, "c4_function_kept", measure="adaptive_sharpness")["verdict"] == "inconclusive"


def test_because_is_contradicted_where_none_of_the_effect_is(rules_module):
    runs = rules_module.experiment(rules_module._because(0.0), 10, 0)
    found = claims.judge(runs, RULES, "toy")
    for measure in ("trace", "adaptive_sharpness"):
        because = row(found, "c4_because", measure=measure, outcome="calibration_error_debiased")
        assert because["verdict"] == "contradicted"
        assert "direct contradicted" in because["reason"]


def test_because_is_contradicted_where_gamma_raises_what_carries_its_effect(rules_module):
    raised = rules_module._because(1.0, fall=-0.5)
    found = claims.judge(rules_module.experiment(raised, 10, 0), RULES, "toy")
    for claim in ("c4_direct", "c4_mediation"):
        carried = row(found, claim, measure="trace", outcome="calibration_error_debiased")
        assert carried["verdict"] == "contradicted"
        assert "raises the trace" in carried["reason"]
    assert carried["estimate"] > 0.8
    assert set(found.loc[found["claim"] == "c4_because", "verdict"]) == {"contradicted"}


@pytest.mark.parametrize(
    ("total", "mapped", "verdict"),
    [
        (-0.008, 1.0, "supported"),
        (-0.008, 0.0, "contradicted"),
        (0.008, 1.0, "supported"),  # whichever way gamma moves the outcome
        (0.0, 1.0, "inconclusive"),
    ],
)
def test_what_gamma_does_by_its_map_is_told(rules_module, total, mapped, verdict):
    truth = replace(rules_module._because(0.0, total), mapped=mapped)
    runs = rules_module.experiment(truth, 8, 0)
    # As in runs.csv: cross-entropy has no such scores.
    for outcome in rules_module.SCALE:
        runs.loc[runs["gamma"] == 0, f"{outcome}_psi"] = np.nan
    found = claims.judge(runs, only("c5_map"), "toy")
    shares = found[(found["model"] == "one") & (found["role"] == "decides")]
    assert set(shares["verdict"]) == {verdict}
    if total:
        assert ((shares["low"] <= mapped) & (mapped <= shares["high"])).all()
        assert shares["reason"].str.contains(r"the rest [+-]").all()
    without = claims.judge(runs.filter(regex="^(?!.*_psi)"), only("c5_map"), "toy")
    assert set(without.loc[without["role"] == "decides", "verdict"]) == {"not tested"}


@pytest.mark.parametrize(
    ("rise", "said"), [(-1.0, (False, False)), (0.0, (False, True)), (1.0, (True, False))]
)
def test_what_is_because_of_a_fall_supposes_one(rise, said):
    premise = Premise.of(rise + np.random.default_rng(0).normal(0, 0.2, 8), 3, "trace")
    assert (bool(premise.refuted), bool(premise.open)) == said
    assert np.sign(premise.part.estimate) == -np.sign(rise) or not rise


def test_curvature_that_its_halves_do_not_agree_on_decides_nothing(rules_module, runs):
    noise = np.random.default_rng(1).normal(0, 0.3, len(runs))
    halves = {
        f"{column}_half{i}": runs[column] * np.exp(sign * noise)
        for column in rules_module.CURVATURES
        for i, sign in ((1, 1), (2, -1))
    }
    names = ("c2_within_gamma", "c4_mediation")
    rules = only(*names, measures=["trace"], hessian_of=["objective"])
    # So few that the bootstrap draws two seeds, whose halves are ranked in opposite orders.
    few = runs[runs["seed"] < 5].assign(**halves)
    found = claims.judge(few, rules | {"replications": 40}, "toy")
    decided = found[(found["role"] == "decides") & (found["model"] != claims.ALL)]
    assert set(decided["verdict"]) == {"inconclusive"}
    assert decided["reason"].str.contains("reliability within gamma is").all()


def test_examples_have_no_interval_and_no_new_seeds(table):
    kept = row(table, "c4_function_kept", measure="trace")
    assert (kept["seeds"], kept["runs"], kept["effect"]) == (1, 1, "+0.0 points")
    assert kept[["low", "high", "replication", "leave_one_out"]].isna().all()
    assert not kept["fragile"]
    assert "new seeds" not in kept["sentence"]


COMBINED = [
    (("supported", "supported", "not tested"), "supported"),
    (("supported", "supported", "contradicted"), "mixed"),
    (("supported", "inconclusive", "inconclusive"), "inconclusive"),
    (("contradicted", "inconclusive", "not tested"), "contradicted"),
    (("contradicted", "supported", "not tested"), "mixed"),
    (("not tested", "contradicted", "contradicted"), "contradicted"),
    (("not tested", "contradicted", "not tested"), "inconclusive"),
    (("not tested", "supported", "not tested"), "inconclusive"),
    (("not tested", "not tested", "contradicted"), "not tested"),
]


@pytest.mark.parametrize(("verdicts", "wanted"), COMBINED)
def test_what_combination_decides_because(verdicts, wanted):
    combine = claims.kinds(FULL)["combination"].combine
    roles = dict(zip(("direct", "mediation", "function_kept"), verdicts, strict=True))
    assert combine(roles)[0] == wanted


def test_what_is_beside_counts_no_verdict(table):
    beside = table[table["role"] == "beside"]
    assert len(beside)
    assert set(beside["verdict"]) == {"described"}
    assert beside["p_holm"].isna().all()
    assert set(table.loc[table["outcome"] == "ece", "role"]) == {"beside", "decides"}


def test_models_that_disagree_are_mixed(runs):
    other = runs[runs["model"] == "two"].copy()
    other["trace_objective"] = 1 / other["trace_objective"]
    both = pd.concat([runs[runs["model"] == "one"], other])
    rules = only("c1_ratio", measures=["trace"], hessian_of=["objective"])
    verdicts = claims.judge(both, rules, "toy").query("role == 'decides'")
    assert list(verdicts["verdict"]) == ["supported", "contradicted", "mixed"]


TOGETHER = [
    (("supported", "supported"), "supported"),
    (("supported", "contradicted"), "mixed"),
    (("contradicted", "inconclusive"), "inconclusive"),
    (("negligible", "negligible"), "negligible"),
    (("not tested", "not tested"), "not tested"),
    (("supported", "not tested"), "inconclusive"),
    (("supported",), "inconclusive"),
]


@pytest.mark.parametrize(("verdicts", "wanted"), TOGETHER)
def test_all_models_together(verdicts, wanted):
    assert together(dict(enumerate(verdicts)), 2)[0] == wanted


DECIDED = {
    "as claimed": ((-0.5, -0.8, -0.2), 0.01, "supported"),
    "the other way": ((0.5, 0.2, 0.8), 0.01, "contradicted"),
    "excluded": ((0.3, -0.05, 0.65), 0.2, "contradicted"),
    "negligible": ((0.01, -0.05, 0.07), 0.7, "negligible"),
    "negligible though significant": ((-0.05, -0.08, -0.02), 0.001, "negligible"),
    "wide": ((-0.2, -0.6, 0.2), 0.2, "inconclusive"),
}


@pytest.mark.parametrize(("numbers", "p", "wanted"), DECIDED.values(), ids=DECIDED)
def test_what_decides(numbers, p, wanted):
    assert decide(Evidence(*numbers, p), -1, 0.1, p, 0.05)[0] == wanted


def test_a_missing_column_is_not_tested(runs):
    without = runs.drop(columns="nll_refinement")
    found = row(
        claims.judge(without, only("c3_gauss_newton_trace"), "toy"), "c3_gauss_newton_trace"
    )
    assert found["verdict"] == "not tested"
    assert "no nll_refinement" in found["reason"]


def test_few_seeds_and_few_gammas_are_not_tested(runs):
    few = runs[runs["seed"] < 4]
    found = claims.judge(few, RULES, "toy")
    decided = found[(found["role"] == "decides") & found["estimate"].notna()]
    assert decided.empty
    assert "4 usable seeds, at least 5 needed" in row(found, "c1_ratio")["reason"]
    two = runs[runs["gamma"].isna() | runs["gamma"].isin([0, 3])]
    assert row(claims.judge(two, only("c1_trend"), "toy"), "c1_trend")["verdict"] == "not tested"


def test_runs_that_diverged_at_an_extreme_level_do_not_cost_the_others_their_seeds(runs):
    lost = runs.copy()
    lost.loc[(lost["gamma"] == 5) & (lost["seed"] > 2), "status"] = "diverged"
    found = row(claims.judge(lost, only("c1_trend"), "toy"), "c1_trend")
    assert found["seeds"] == 8
    assert "without 5, which" in found["reason"]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_change_no_number(runs, table, processes):
    shared = claims.judge(runs, RULES, "toy", CONTROLS, processes)
    pd.testing.assert_frame_equal(shared, table, check_exact=True)


KILLED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from focal_curvature.analysis.claims import _end_with
pool = ProcessPoolExecutor(2, None, _end_with, [os.getpid()])
print(pool.submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_where_the_one_that_they_work_for_was_killed():
    command = [sys.executable, "-c", KILLED]
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": {"PYTHONPATH": str(ROOT / "src")}}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            # To the end of the pipe, which each of them holds open for as long as it lives.
            assert process.communicate(timeout=30)[0].strip().isdigit()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_order_of_the_rows_is_of_no_matter(runs):
    rules = only("c2_within_gamma", "c2_best_gamma", "c3_gauss_newton_trace")
    shuffled = runs.groupby("model", group_keys=False)[list(runs)].apply(
        lambda group: group.sample(frac=1, random_state=1)
    )
    pd.testing.assert_frame_equal(
        claims.judge(shuffled, rules, "toy"), claims.judge(runs, rules, "toy")
    )


def test_each_verdict_has_how_often_new_seeds_give_it_again(rules_module):
    truth = rules_module.Truth(rules_module._falling(1.0))
    rules = only("c1_ratio", measures=["trace"], hessian_of=["objective"]) | {"replications": 40}
    strong = claims.judge(rules_module.experiment(truth, 8, 0), rules, "toy")
    sure = row(strong, "c1_ratio")
    assert (sure["verdict"], sure["replication"], sure["leave_one_out"]) == ("supported", 1, 0)
    assert not sure["fragile"]
    close = rules_module.Truth(rules_module._falling(0.14))
    weak = [
        row(claims.judge(rules_module.experiment(close, 8, i), rules, "toy"), "c1_ratio")
        for i in range(6)
    ]
    assert any(w["fragile"] and w["replication"] < 0.8 for w in weak)
    printed = claims.printed(pd.DataFrame(weak))
    assert (printed["Verdict"].str.endswith(" !") == [w["fragile"] for w in weak]).all()


def test_holm_is_statsmodels():
    p = np.random.default_rng(0).random(20) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )


def test_the_mean_over_seeds_is_scipys_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 9)
    found, wanted = mean_over_seeds(values), stats.ttest_1samp(values, 0)
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))


@pytest.mark.parametrize("n", range(2, 12))
def test_values_that_differ_by_rounding_alone_decide_nothing(n):
    assert np.isnan(mean_over_seeds(np.full(n, 0.1)).p)
    assert np.isnan(mean_over_seeds(np.array([0.1, 0.3 - 0.2] * n)).p)


@pytest.fixture(scope="module")
def committed_tests():
    runs = pd.read_csv(ROOT / "paper_figures/cifar10_jpeg_factorial/runs.csv")
    tests = {}
    for test in claims.prepare(runs, RULES):
        if test.data:
            tests.setdefault(test.question.claim["test"], []).append(test)
    return tests


# Correlations over levels have an error of their own, where seeds agree.
VARYING = ["association", "best_level", "intervention", "matched_curvature", "mediation", "ratio"]


@pytest.mark.parametrize("kind", VARYING)
@pytest.mark.parametrize("n", [3, 5, 10])
def test_one_seed_drawn_throughout_decides_nothing(committed_tests, kind, n):
    for test in committed_tests[kind]:
        for seed in range(test.data.seeds):
            one = test.evidence(np.full(n, seed), np.random.default_rng(0))
            assert isinstance(one, str) or np.isnan(one.p)
            assert isinstance(one, str) or {part.error for part in one.parts} <= {0.0}


# Others permute, or draw, seed by seed.
EXACT = ["both_move", "intervention", "matched_curvature", "mediation", "ratio", "trend"]


@pytest.mark.parametrize("kind", EXACT)
def test_the_order_of_the_seeds_decides_nothing(committed_tests, kind):
    for test in committed_tests[kind]:
        n = test.data.seeds
        for draw in ([1] * (n - 1) + [0], [2] * (n - 2) + [3, 3], [*range(n)]):
            one, other = (
                test.evidence(np.array(seeds), np.random.default_rng(0))
                for seeds in (draw, draw[::-1])
            )
            if isinstance(one, str) or isinstance(other, str):
                assert one == other
                continue
            numbers = [[e.estimate, e.low, e.high, e.p] for e in (one, other)]
            np.testing.assert_allclose(*numbers, rtol=1e-6, atol=1e-9)
            assert one.barrier == other.barrier


def test_a_shares_interval_holds_what_its_test_does_not_reject():
    generator = np.random.default_rng(0)
    total = generator.normal(-1, 0.3, 12)
    part = 0.7 * total + generator.normal(0, 0.2, 12)
    found, _ = share(part, total)
    for end in (found.low, found.high):
        assert stats.ttest_1samp(part - end * total, 0).pvalue == pytest.approx(0.05)
    assert found.p == pytest.approx(stats.ttest_1samp(part - 0.5 * total, 0).pvalue)
    assert share(part, total - total.mean() + 0.01)[0].low == -np.inf


def test_the_words_are_the_verdicts(table):
    for _, found in table.iterrows():
        said = [verdict for verdict, words in claims.WORDS.items() if words in found["sentence"]]
        assert found["verdict"] in said
        assert found["reason"] in found["sentence"]


def test_the_file_holds_every_number_and_is_plain_json(table):
    found = json.loads(json.dumps(claims.to_json(table, RULES, "toy"), allow_nan=False))
    assert found["rules"]["alpha"] == RULES["alpha"]
    first = found["claims"][0]
    assert first["interval"] == [table["low"][0], table["high"][0]]
    assert len(found["claims"]) == len(table)


def test_tables_are_written_in_four_formats(table, tmp_path):
    files = [tmp_path / f"claims.{kind}" for kind in ("csv", "md", "tex", "html")]
    summary.write(table, claims.printed(table), files)
    assert len(pd.read_csv(files[0])) == len(table)
    assert "ρ -" in files[1].read_text()
    assert "ρ" not in files[2].read_text()
    assert files[3].read_text().count("<tr>") == len(table)


def test_the_rules_are_valid_and_use_every_kind_of_test():
    assert load_claims(FULL, SCHEMA) == FULL
    assert {claim["test"] for claim in FULL["claims"].values()} == set(
        registry.names("claim_tests")
    )


MISTAKES = {
    "unknown test": (
        ("claims", "c1_trend", "test"),
        "tend",
        ["c1_trend.test", "did you mean trend"],
    ),
    "no test": (("claims", "c1_trend", "test"), None, ["claims.c1_trend.test", "is missing"]),
    "unknown key": (("claims", "c1_trend", "outcomes"), ["ece"], ["c1_trend.outcomes", "unknown"]),
    "lacking": (("claims", "c1_trend", "up_to"), None, ["claims.c1_trend.up_to", "missing"]),
    "text for number": (("alpha",), "5e-2", ["alpha", "write 5.0e-2"]),
    "no seeds": (("minimum_seeds",), 1, ["minimum_seeds", "at least 3"]),
    "direction": (("claims", "c1_trend", "direction"), "down", ["c1_trend.direction", "falls"]),
    "Hessian": (("claims", "c1_trend", "hessian_of"), ["ce"], ["hessian_of[0]", "cross_entropy"]),
    "outcome": (
        ("claims", "c2_best_gamma", "outcomes"),
        ["eec"],
        ["c2_best_gamma.outcomes", "did you mean ece"],
    ),
    "measure": (("claims", "c1_trend", "measures"), ["trance"], ["did you mean trace"]),
    "of what": (
        ("claims", "c4_because", "of", "direct"),
        "c4_direkt",
        ["c4_because.of.direct", "did you mean c4_direct"],
    ),
    "no claims": (("claims",), {}, ["claims", "empty"]),
}


@pytest.mark.parametrize(("path", "value", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_rules_is_one_clear_line(path, value, words):
    rules = copy.deepcopy(FULL)
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


def test_rules_that_are_no_mapping_are_told():
    with pytest.raises(ConfigError, match="not a mapping"):
        load_claims(None, SCHEMA)
