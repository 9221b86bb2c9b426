"""The committed tables of the benchmarks are those of the committed numbers."""

import importlib
import json

import pytest
from checkout import ROOT

RESULTS = ROOT / "benchmarks/results"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.mark.parametrize("name", ["curvature", "training"])
def test_the_committed_table_has_the_committed_numbers(benchmark, name):
    found = json.loads((RESULTS / f"{name}.json").read_text())
    assert benchmark(name).markdown(found) == (RESULTS / f"{name}.md").read_text()


def test_numbers_may_be_keys_as_in_a_fresh_result(benchmark):
    assert benchmark("curvature").flat({"xtrace": {60: 0.1}}) == {"xtrace: 60": 0.1}
