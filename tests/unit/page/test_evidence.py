"""Groups of verdicts: their order, their scales, and the matrix of them."""

import pandas as pd
import pytest
from checkout import ROOT
from experiments import claim

from focal_curvature.page import evidence


def content(*rows):
    return {"rules": {"measures": {"trace": "trace of the Hessian"}}, "claims": list(rows)}


def test_all_networks_stand_first_and_untested_single_ones_do_not_stand():
    rows = [claim("a", "supported", 0.5), claim("b", "not tested"), claim("all models", "mixed")]
    (group,) = evidence.of_experiment("mine", content(*rows))
    assert [row.model for row in group.rows] == ["all models", "a"]
    assert [row.verdict for row in group.decided] == ["mixed"]
    assert group.rows[0].test == "trace of the Hessian"
    assert (group.words, group.plot) == ("1 mixed", ("gamma", "trace_objective"))


def test_one_network_stands_for_itself():
    rows = [claim("a", "supported", 0.5), claim("all models", "inconclusive")]
    (group,) = evidence.of_experiment("mine", content(*rows))
    assert [row.model for row in group.rows] == ["a"]
    assert [row.verdict for row in group.decided] == ["supported"]
    beside = [claim(m, "described", 0.5) for m in ("a", "all models")]
    (group,) = evidence.of_experiment("mine", content(*beside))
    assert [row.model for row in group.rows] == ["a"]


def test_what_is_described_stands_where_nothing_decides():
    models = ("a", "b", "all models")
    decided = [claim(m, "supported", 0.5) for m in models]
    beside = [claim(m, "described", 0.5) | {"gamma": 1} for m in models]
    (group,) = evidence.of_experiment("mine", content(*decided, *beside))
    assert [row.verdict for row in group.rows] == ["supported"] * 3
    (group,) = evidence.of_experiment("mine", content(*beside))
    assert [row.model for row in group.rows] == ["a", "b"]


def test_a_ratio_is_drawn_by_its_logarithm():
    half, double = (
        claim(m, "supported", e) | {"unit": "ratio", "null": 1.0, "interval": [e / 2, e * 2]}
        for m, e in (("a", 0.5), ("b", 2.0))
    )
    (group,) = evidence.of_experiment("mine", content(half, double))
    low, high = (row.interval for row in group.rows)
    assert low.null == high.null == 50
    assert high.estimate - 50 == pytest.approx(50 - low.estimate, abs=0.2)
    assert low.high == high.low == 50


def test_one_far_interval_does_not_set_the_scale_and_goes_on():
    rows = [claim(f"net {i}", "supported", 0.5) for i in range(40)]
    rows[0] |= {"interval": [-1000, 1]}
    (group,) = evidence.of_experiment("mine", content(*rows))
    first, second = (row.interval for row in group.rows[:2])
    assert (first.low, first.beyond) == (0, True)
    assert not second.beyond
    assert second.high - second.low > 80


def test_an_endless_interval_is_not_drawn():
    row = claim("a", "inconclusive", 0.5) | {"interval": [None, None]}
    (group,) = evidence.of_experiment("mine", content(row))
    assert group.rows[0].interval is None


def test_the_matrix_has_what_some_source_tested():
    tested = evidence.of_experiment("a", content(claim("all models", "supported")))
    not_tested = evidence.of_experiment(
        "b",
        content(
            claim("all models", "not tested"),
            claim("all models", "not tested") | {"hessian_of": "cross_entropy"},
        ),
    )
    (row,) = evidence.matrix([*tested, *not_tested], ["a", "b"])
    assert [cell.key for cell in row["cells"]] == ["a--c1--objective", "b--c1--objective"]
    assert row["span"] == 1


def test_pooled_rows_say_what_they_pool():
    pooled = pd.read_csv(ROOT / "docs/pooled.csv")
    groups = evidence.of_pooled(pooled, {})
    assert sum(len(group.rows) for group in groups) == len(pooled)
    assert {group.source for group in groups} == {evidence.POOLED}
    row = groups[0].rows[0]
    first = pooled.iloc[0]
    assert row.model == f"{first['effects']} networks, {first['data_sets']} data sets"
    assert row.interval.low < row.interval.estimate < row.interval.high
    assert groups[0].statistic.endswith(first["part"])
