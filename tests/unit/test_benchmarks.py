"""The committed tables of the benchmarks are those of the committed numbers."""

import importlib
import json
import re

import pytest
from checkout import ROOT

RESULTS = ROOT / "benchmarks/results"
SCRIPTS = re.findall(r"benchmarks/(\w+)\.py", (ROOT / "Makefile").read_text())


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.mark.parametrize("name", sorted(set(SCRIPTS)))
def test_what_make_bench_runs_finds_what_it_imports(benchmark, name):
    assert callable(benchmark(name).main)


def test_scoring_finds_the_runs_that_it_repeats(benchmark, monkeypatch):
    scoring = benchmark("scoring")
    # Judging them takes half a minute.
    monkeypatch.setattr(scoring, "judge", lambda runs, *_: runs)
    monkeypatch.setattr(scoring, "RUNS", 100)
    tables = scoring.thousand(scoring.EXPERIMENT)
    assert len(tables["runs"]) >= 100
    assert not tables["runs"].duplicated(["model", "objective", "seed"]).any()


@pytest.mark.parametrize("name", ["curvature", "smooth", "training"])
def test_the_committed_table_has_the_committed_numbers(benchmark, name):
    found = json.loads((RESULTS / f"{name}.json").read_text())
    assert benchmark(name).markdown(found) == (RESULTS / f"{name}.md").read_text()


def test_numbers_may_be_keys_as_in_a_fresh_result(benchmark):
    assert benchmark("curvature").flat({"xtrace": {60: 0.1}}) == {"xtrace: 60": 0.1}
