"""The table of penalised traces against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from focal_curvature.analysis import summary, tables
from focal_curvature.tables import penalties


def record(name="hessian_trace", seed=0, status="completed"):
    objective = f"ce-{name}-0.1" if name else "ce"
    keys = {"model": "m", "objective": objective, "regulariser": name}
    return keys | {"seed": seed, "status": status}


@pytest.fixture
def table(tmp_path):
    """A function of records and histories: the table that is made from their files."""

    def make(runs):
        files = []
        for number, (row, epochs) in enumerate(runs):
            files.append((row, tmp_path / f"{number}.csv"))
            epochs.to_csv(files[-1][1], index=False)
        return penalties.prepare({"histories": tables.histories(files)})

    return make


def history(traces, **columns):
    return pd.DataFrame({"epoch": range(len(traces)), "penalised_trace": traces} | columns)


def test_a_run_is_described_by_its_first_last_and_least_estimate(table):
    followed = history([9.0, -3.0, 2.0, 1.0], trace_hessian=[4.0, 3.0, 2.0, 5.0])
    (row,) = table([(record(), followed)]).to_dict("records")
    assert (row["model"], row["objective"], row["seed"]) == ("m", "ce-hessian_trace-0.1", 0)
    names = ("penalised_trace_first", "penalised_trace_last", "penalised_trace_least")
    assert [row[name] for name in names] == [9, 1, -3]
    assert row["negative"] == 0.25
    assert row["trace_hessian"] == 5
    assert np.isnan(row["trace_gauss_newton"])


def test_runs_without_a_penalised_trace_are_left_out(table):
    sam = pd.DataFrame({"epoch": [1], "ascent": [0.1]})
    assert table([(record("sam"), sam)]).empty
    both = table([(record("sam"), sam), (record(), history([1.0]))])
    assert both["objective"].tolist() == ["ce-hessian_trace-0.1"]
    plain = [(record(None), pd.DataFrame({"epoch": [1]})), (record(None, 1), pd.DataFrame())]
    assert table(plain).empty


def test_a_diverged_run_is_a_row_and_in_no_mean(table):
    made = table(
        [
            (record(seed=0), history([2.0, 1.0])),
            (record(seed=1), history([4.0, 3.0])),
            (record(seed=2, status="diverged"), history([1e9])),
            (record("gauss_newton_trace", 0, "diverged"), pd.DataFrame()),
        ]
    )
    assert made["penalised_trace_last"].tolist()[:3] == [1, 3, 1e9]
    one, other = penalties.printed(made).to_dict("records")
    mean, _, high = summary.interval([1, 3])
    assert one["last"] == summary.plus_minus(mean, high) == "2 ± 13"
    assert (one["Negative (%)"], one["Completed"]) == ("0", "2 of 3")
    assert (other["last"], other["Negative (%)"], other["Completed"]) == ("-", "-", "0 of 1")


@pytest.mark.parametrize("kind", ["csv", "md", "tex"])
def test_a_table_without_runs_is_written(table, tmp_path, kind):
    made = table([])
    summary.write(made, penalties.printed(made), [tmp_path / f"out.{kind}"])
    assert (tmp_path / f"out.{kind}").exists()
