"""Names and meanings of the columns of runs.csv."""

from dataclasses import fields

import pandas as pd
import pytest
from checkout import ROOT

from focal_curvature.calibration import Fit, Scores
from focal_curvature.page import columns


def test_meanings_are_those_of_the_docstrings():
    assert set(columns.documented()) == {f.name for kind in (Scores, Fit) for f in fields(kind)}
    assert (
        columns.documented()["mce"]
        == "netcal's maximum calibration error, the largest gap of a bin."
    )
    assert columns.documented()["noise_floor"] == columns.documented()["noise_floor_95"]


@pytest.mark.parametrize(
    ("column", "group", "name"),
    [
        ("ece", "Scores, as trained", "ECE"),
        ("ece_scaled", "Scores, temperature-scaled", "ECE after temperature scaling"),
        ("nll_psi", "Scores, Ψ undone", "NLL with focal loss's posterior map undone"),
        (
            "trace_cross_entropy",
            "Curvature: cross-entropy",
            "trace of the Hessian of cross-entropy at the same weights",
        ),
        ("train_seconds", "Run and fit", "training time (s)"),
        ("made_up", "Run and fit", "made up"),
    ],
)
def test_a_column_has_a_group_and_a_name(column, group, name):
    assert columns.describe(column)[:2] == (group, name)


def test_what_says_how_well_a_number_was_measured_is_left_out():
    runs = pd.read_csv(ROOT / "paper_figures/digits/runs.csv")
    left_out = {c for c in runs if columns.LEFT_OUT.search(c)}
    assert {"trace_objective_stderr", "curvature_objective_seconds"} <= left_out
    assert not left_out & {"train_seconds", "trace_objective", "noise_floor_95"}


@pytest.mark.parametrize(
    ("loss", "gamma", "regulariser", "name"),
    [
        ("focal", 0.0, None, "cross-entropy"),
        ("focal", 2.0, float("nan"), "focal loss"),
        ("cross_entropy", 0.0, "sam", "SAM on cross-entropy"),
    ],
)
def test_an_arm_is_what_objectives_share(loss, gamma, regulariser, name):
    run = {"loss": loss, "gamma": gamma, "regulariser": regulariser}
    assert columns.arm(run).lower() == name.lower()


def test_numbers_are_of_five_digits_and_none_where_there_is_none():
    runs = pd.DataFrame(
        {
            **{"dataset": "d", "model": "m", "objective": ["a", "b", "c"]},
            **{"loss": ["focal", "focal", "brier"], "gamma": [0.0, 1.0, float("nan")]},
            **{"seed": 0, "status": "completed"},
            **{"ece": [0.123456789, 2.0, 0.000123456], "same": 1.0},
        }
    )
    packed = columns.pack({"mine": runs})
    values = {column["key"]: column["values"] for column in packed["numbers"]}
    assert values == {"gamma": [0, 1, None], "seed": [0, 0, 0], "ece": [0.123, 2, 0.000123]}
    assert packed["kinds"]["arm"]["codes"] == [0, 1, 2]
