import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from focal_curvature.analysis import cost, summary, tables
from focal_curvature.products import products
from focal_curvature.runs import CROSS_ENTROPY, Regulariser, RunSpec
from focal_curvature.settings.training import Training
from focal_curvature.stages import stages

TRAINING = Training(epochs=1, batch_size=1, learning_rate=0.1)


def test_interval_is_students():
    values = [1.0, 2.0, 4.0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert summary.interval(values) == pytest.approx((np.mean(values), *expected))


def test_interval_of_one_value_is_unknown():
    mean, low, high = summary.interval([3.0])
    assert (mean, np.isnan(low), np.isnan(high)) == (3.0, True, True)


def test_interval_covers_the_mean_of_normal_values():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        _, low, high = summary.interval(generator.normal(size=5))
        inside += low < 0 < high
    assert inside / 2000 == pytest.approx(0.95, abs=0.02)


@pytest.fixture
def runs():
    return pd.DataFrame(
        {
            "model": ["a"] * 4 + ["b"],
            "objective": ["ce", "ce", "ce", "focal-2", "ce"],
            "gamma": [0, 0, 0, 2, 0],
            "seed": [0, 1, 2, 0, 0],
            "status": ["completed", "completed", "diverged", "completed", "completed"],
            "ece": [0.1, 0.3, 9.9, 0.4, 0.5],
        }
    )


def test_summary_leaves_diverged_runs_out_and_counts_the_rest(runs):
    found = summary.by_cell(runs, ["ece"]).set_index(["model", "objective"])
    assert found.loc[("a", "ce"), "mean"] == pytest.approx(0.2)
    assert found.loc[("a", "ce"), "n"] == 2
    assert list(found["n"]) == [2, 1, 1]


def test_printed_summary_shows_every_measure_of_curvature(runs, tmp_path):
    shown = {
        "trace_gauss_newton_cross_entropy": "Trace, Gauss-Newton, CE",
        "adaptive_sharpness_objective": "Adaptive sharpness, objective",
        "adaptive_sharpness_cross_entropy": "Adaptive sharpness, CE",
    }
    table = summary.by_cell(runs.assign(**dict.fromkeys(shown, 2.0)), ["ece", *shown])
    printed = summary.printed(table)
    assert list(printed["Curvature"]) == ["Model", "Objective", *shown.values(), "n"]
    assert (printed["Curvature"][list(shown.values())] == "2").all(axis=None)
    outputs = [tmp_path / f"summary.{suffix}" for suffix in ("csv", "md", "tex")]
    summary.write(table, printed, outputs)
    _, markdown, latex = (file.read_text() for file in outputs)
    assert markdown.startswith("**Scores**\n\n| Model ")
    assert "|\n\n**Curvature**\n\n| Model " in markdown
    assert latex.startswith("% Scores\n\\begin{tabular}")
    assert "\\end{tabular}\n\n% Curvature\n\\begin{tabular}" in latex


def test_printed_numbers_carry_what_their_runs_are_flagged_for(runs):
    flagged = runs.assign(
        temperature=2.0,
        temperature_at_bound=[True, False, None, False, True],  # None: diverged
        top_eigenvalue_objective=3.0,
        top_eigenvalue_objective_converged=[True, True, None, True, False],
        trace_objective=4.0,
        trace_objective_converged=None,  # none was requested
    )
    known = [*flagged.columns[6:]]
    table = summary.by_cell(summary.flags_as_numbers(flagged), known)
    printed = summary.printed(table)
    assert list(printed["Scores"]["T"]) == ["2 (1 at a bound)", "2", "2 (1 at a bound)"]
    assert list(printed["Curvature"]["λmax, objective"]) == ["3", "3", "3 (1 not converged)"]
    assert list(printed["Curvature"]["Trace, objective"]) == ["4", "4", "4"]


def test_printed_table_gives_value_unit_and_n(runs):
    printed = summary.printed(summary.by_cell(runs, ["ece"]))["Scores"]
    assert list(printed.columns) == ["Model", "Objective", "ECE (%)", "n"]
    assert printed["ECE (%)"][0] == "20 ± 127"  # t(1) is 12.7
    assert printed["ECE (%)"][1] == "40"
    assert "ECE (\\%)" in summary.latex(printed)
    assert r"20 $\pm$ 127" in summary.latex(printed)


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [(1.23456, 0.0123, "1.235 ± 0.012"), (123.4, 45.6, "123 ± 46"), (0.5, 0, "0.5")],
)
def test_values_have_two_digits_of_their_uncertainty(mean, half, text):
    assert summary.plus_minus(mean, mean + half) == text


TRAINING = Training(epochs=1, batch_size=8, learning_rate=0.1)


def test_a_diverged_run_is_a_row_with_its_reason():
    run = {
        "run": "m/ce/seed0",
        "status": "diverged",
        "reason": "loss nan in epoch 1",
        "spec": RunSpec("digits", "m", "own:m", {}, CROSS_ENTROPY, 0, TRAINING).to_dict(),
        "inputs_sha256": {"data": "0"},
        "parameters": 5,
        "seconds": 1.0,
    }
    row = tables.run_row(run, {}, {})
    assert (row["status"], row["reason"], row["gamma"]) == ("diverged", "loss nan in epoch 1", 0)
    assert set(map(row.get, tables.MEASURED)) == {None}


def test_a_penalised_run_is_no_focal_run():
    penalty = Regulariser(
        "hessian_trace",
        "focal_curvature.regularisers.hessian_trace:hessian_trace",
        {"probes": 2, "strength": 0.01},
    )
    objective = replace(CROSS_ENTROPY, regulariser=penalty)
    run = {
        "run": "m/x/seed0",
        "status": "diverged",
        "reason": "loss -inf in epoch 1",
        "spec": RunSpec("digits", "m", "own:m", {}, objective, 0, TRAINING).to_dict(),
        "inputs_sha256": {"data": "0"},
        "parameters": 5,
        "seconds": 1.0,
    }
    row = tables.run_row(run, {}, {})
    assert (row["loss"], row["regulariser"]) == ("cross_entropy", "hessian_trace")
    assert (row["gamma"], row["strength"], row["is_plain"]) == (0, 0.01, False)
    # On another loss than cross-entropy, its name and gamma tell the cell.
    both = replace(objective, parameters={"gamma": 3})
    run["spec"] = RunSpec("digits", "m", "own:m", {}, both, 0, TRAINING).to_dict()
    row = tables.run_row(run, {}, {})
    assert (row["loss"], row["gamma"], row["regulariser"]) == ("focal", 3, "hessian_trace")


@pytest.mark.parametrize("there", [True, False])
def test_a_row_has_each_losss_gauss_newton_trace_and_sharpness_where_measured(there):
    scalar = {"estimate": 3.0, "stderr": 0.1, "converged": None}
    found = {
        "status": "completed",
        "reason": None,
        "top_eigenvalue": {"estimate": 2.0, "residual": 0.0, "converged": True},
        "trace": scalar,
        "seconds": 1.0,
        "gauss_newton": {"trace": {"estimate": 4.0}} if there else None,
        "adaptive_sharpness": {"estimate": 5.0} if there else None,
        "halves": [],
    }
    run = {
        "run": "m/ce/seed0",
        "status": "completed",
        "reason": None,
        "spec": RunSpec("digits", "m", "own:m", {}, CROSS_ENTROPY, 0, TRAINING).to_dict(),
        "inputs_sha256": {"data": "0"},
        "parameters": 5,
        "seconds": 1.0,
    }
    calibration = {
        "samples": 9,
        "temperature": 20.0,
        "temperature_at_bound": True,
        "before": {},
        "after": {},
        "psi": None,
        "recalibrations": {"vector": {"at_bound": False, "scores": {"ece": 0.02}}},
        "fit": {"logit_norm": 7.0},
    }
    row = tables.run_row(run, calibration, {"objective": found, "cross_entropy": found})
    for loss in ("objective", "cross_entropy"):
        expected = (4.0, 5.0) if there else (None, None)
        names = (f"trace_gauss_newton_{loss}", f"adaptive_sharpness_{loss}")
        assert tuple(map(row.get, names)) == expected
    assert (row.pop("ece_vector"), row.pop("vector_at_bound")) == (0.02, False)
    assert row["logit_norm"] == 7.0
    # A half may fail where the whole does not.
    half = {**found, "trace": scalar | {"estimate": 6.0}}
    halved = found | {"halves": [half, {"status": "failed", "reason": "not finite"}]}
    columns = tables.run_row(run, calibration, {"objective": halved})
    assert columns["trace_objective"] == 3.0 and columns["trace_objective_half1"] == 6.0
    assert columns["top_eigenvalue_objective_half1"] == 2.0
    assert not [name for name in columns if name.endswith("half2")]
    assert list(row) == list(tables.run_row(run | {"status": "diverged"}, {}, {}))


def test_provenance_lists_every_distinct_machine_once():
    common = {
        "commit": "abc",
        "python": "3.11",
        "packages": {},
        "system": "Linux",
        "processor": "x",
        "cores": 2,
        "threads": 1,
        "status": "completed",
        "seconds": 2.0,
        "peak_memory_mb": 100.0,
    }
    runs = [common | {"device": d, "run": d} for d in ("cpu", "cpu", "cuda (H)")]
    found = cost.provenance(runs, [common | {"device": "cpu"}], {"name": "toy"})
    assert [m["device"] for m in found["machines"]] == ["cpu", "cuda (H)"]
    assert (found["training_seconds"], found["curvature_seconds"]) == (6.0, 2.0)
    assert found["commits"] == ["abc"]


def test_a_table_without_rows_leaves_the_types_of_the_others(tmp_path):
    (tmp_path / "none.csv").write_text("model,gamma\n")
    (tmp_path / "one.csv").write_text("model,gamma\ncnn,2.0\n")
    both = tables.read_all([tmp_path / "none.csv", tmp_path / "one.csv"])
    assert both["gamma"].dtype == float
    assert list(tables.read_all([tmp_path / "none.csv"])) == ["model", "gamma"]


@pytest.mark.parametrize(
    "product",
    [p for p in products("tables") if p.name in ("estimators", "trajectory", "controls")],
    ids=lambda product: product.name,
)
def test_tables_of_diverged_runs_alone_are_written(tmp_path, product):
    (name,) = product.needs
    (columns,) = (s.tables[name] for s in stages().values() if name in s.tables)
    (tmp_path / "in.csv").write_text(",".join(columns) + "\n")
    module = importlib.import_module(f"focal_curvature.tables.{product.name}")
    table = module.prepare({name: tables.read_all([tmp_path / "in.csv"])})
    outputs = [tmp_path / f"out.{kind}" for kind in ("csv", "md", "tex")]
    summary.write(table, module.printed(table), outputs)
    assert pd.read_csv(outputs[0]).empty
    assert all(file.read_text() == "no completed run\n" for file in outputs[1:])
