"""Size and power of the rules, in short: benchmarks/rules.py has all draws, docs/rules.md a table.

A draw gives several tests, which share their runs, so that a bound on the mean over draws of the
share that is supported is one on independent numbers in [0, 1].
"""

import importlib
import json

import pytest
from checkout import ROOT

DRAWS = 4


@pytest.fixture(scope="module")
def rules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("rules")


def pytest_generate_tests(metafunc):
    if "scenario" in metafunc.fixturenames:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "benchmarks")
            scenarios = list(importlib.import_module("rules").scenarios())
        metafunc.parametrize("scenario", scenarios, ids=lambda s: f"{s.claim}: {s.name}")


def test_a_rule_has_its_size_and_power(rules, scenario):
    seeds = rules.RULES["claims"][scenario.claim].get("power", {"seeds": 20})["seeds"]
    found = rules.rates(scenario, seeds, DRAWS, resamples=499)
    if scenario.kind == "effect":
        assert found["supported"] > 0.6
    else:
        wrong = "supported" if scenario.kind == "none" else "excluded"
        assert found[wrong] < 0.3


def test_the_table_is_that_of_the_numbers(rules):
    content = json.loads((ROOT / "benchmarks/results/rules.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    assert rules.BEGIN + rules.printed(content) + rules.END in page
    stated = {s.claim: rules.RULES["claims"][s.claim].get("power") for s in rules.scenarios()}
    for row in content["rates"]:
        power = stated[row["claim"]]
        if row["kind"] == "effect" and power:
            assert row["seeds"] == power["seeds"]
            assert row["supported"] > 0.9 - two_errors(0.9, row["draws"]), row
        elif row["kind"] != "effect":
            wrong = row["supported" if row["kind"] == "none" else "excluded"]
            assert wrong < 0.025 + two_errors(0.025, row["draws"]), row


def two_errors(rate, draws):
    return 2 * (rate * (1 - rate) / draws) ** 0.5
