"""Tables of docs/ are made from what benchmarks and experiments left."""

import json

import measured
import pandas as pd
import pytest


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (2066.7, 3, "2,070"),
        (40.82, 3, "40.8"),
        (0.0004, 2, "0.0004"),
        (47.4, 2, "47"),
        (None, 2, ""),
    ],
)
def test_numbers_have_as_many_digits_as_are_asked_for(value, digits, text):
    assert measured.shown(value, digits) == text


def test_costs_are_those_of_the_committed_tables(tmp_path, monkeypatch):
    folder = tmp_path / "paper_figures/mine"
    (folder / "tables").mkdir(parents=True)
    cost = pd.DataFrame({"wall_s": [1800.0, 5400.0], "peak_mb": [500.0, 1500.0]})
    cost.to_csv(folder / "tables/cost.csv", index=False)
    (folder / "provenance.json").write_text(json.dumps({"runs": 1234}))
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    assert measured.costs().splitlines()[-1] == "| mine | 1,234 | 2 | 1.5 |"
