"""What others found, and focal loss beside a penalty, are counted and measured by seed."""

import best_penalty as best_penalty_tool
import neighbours as neighbours_tool
import numpy as np
import pandas as pd
import pytest

from focal_curvature.analysis import best_penalty, neighbours
from focal_curvature.analysis.arms import FOCAL, PLAIN, networks


def runs_of(changes, dataset="digits", model="cnn", seeds=5):
    """Return a network's runs: cross-entropy, and focal loss with changed columns."""
    rows = []
    for seed in range(seeds):
        base = {"ece": 0.1, "ece_psi": 0.1, "trace_cross_entropy": 5.0, "nll_refinement": 0.3}
        base = {name: value + 0.001 * seed for name, value in base.items()}
        base |= {"nll_calibration": 0.2, "ece_scaled": 0.02 + 0.001 * seed}
        base |= {"generalisation_gap_accuracy": 0.5}
        for gamma in (0, 3, 5):
            row = dict(base)
            for name, by in changes.items() if gamma else ():
                row[name] += by * (1 + 0.01 * seed * gamma)
            rows.append(
                {"dataset": dataset, "model": model, "objective": f"focal-{gamma}", "seed": seed}
                | {"gamma": gamma, "regulariser": None, "strength": None, "status": "completed"}
                | row
            )
    return pd.DataFrame(rows)


def test_what_is_committed_is_what_the_runs_say():
    committed = pd.read_csv(neighbours_tool.FILE, keep_default_na=False, dtype=str)
    pd.testing.assert_frame_equal(
        committed, neighbours.examine(neighbours_tool.committed_runs("runs.csv")).astype(str)
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [({"nll_refinement": 0.1}, "agrees"), ({"nll_refinement": -0.1}, "contradicts")],
)
def test_a_finding_agrees_by_more_than_half_of_the_networks(changes, verdict):
    words, said = neighbours.two_parts(networks({"mine": runs_of(changes)}))
    assert said == verdict
    assert ("higher in 1" if changes["nll_refinement"] > 0 else "lower in 1") in words


def test_networks_that_disagree_are_divided_and_none_is_not_tested():
    both = {"a": runs_of({"ece_scaled": 0.1}), "b": runs_of({"ece_scaled": -0.1}, model="mlp")}
    assert neighbours.after_scaling(networks(both))[1] == "divided"
    assert neighbours.said(0, 0, 0) == "not tested"


@pytest.mark.parametrize(("left", "verdict"), [(0.0, "agrees"), (-0.05, "contradicts")])
def test_the_map_explains_a_gain_of_which_it_leaves_nothing(left, verdict):
    runs = runs_of({"ece": -0.05, "ece_psi": left})
    assert neighbours.proper_map(networks({"mine": runs}))[1] == verdict


def test_without_the_runs_for_it_nothing_is_said_of_a_finding():
    runs = runs_of({})
    for examine in neighbours.FINDINGS.values():
        words, said = examine(networks({"mine": runs[runs["gamma"] == 5]}))
        assert words and "nan" not in words and said == "not tested"


def test_runs_that_experiments_share_count_once():
    runs = runs_of({"ece": 0.1})
    more = pd.concat([runs, runs_of({"ece": 0.1}, model="mlp")])
    found = networks({"small": runs, "large": more})
    assert {name: len(rows) for name, rows in found.items()} == {
        ("large", "cnn"): 15,
        ("large", "mlp"): 15,
    }


def test_a_diverged_run_is_not_compared():
    runs = runs_of({"ece": 0.1}).astype({"status": object})
    runs.loc[runs["seed"] == 0, ["status", "ece"]] = ["diverged", np.nan]
    mean = neighbours.paired(runs, "ece", FOCAL, PLAIN, "ece")
    assert mean.estimate == pytest.approx(0.1 * (1 + 0.01 * 3 * 2.5))


def penalised(runs, strengths):
    """Return runs with those of a penalty: (strength, ECE) makes a row per seed."""
    plain = runs[runs["gamma"] == 0]
    rows = [
        plain.assign(regulariser="gauss_newton_trace", strength=strength, gamma=np.nan).assign(
            ece=ece + 0.001 * plain["seed"], objective=f"penalty-{strength}"
        )
        for strength, ece in strengths.items()
    ]
    both = pd.concat([runs.assign(accuracy=0.9), *(row.assign(accuracy=0.8) for row in rows)])
    return both.assign(calibration_error_debiased=both["ece"] ** 2)


def test_the_best_strength_is_chosen_on_the_other_seeds():
    runs = penalised(runs_of({"ece": 0.1}), {0.1: 0.09, 0.2: 0.05, 0.3: 0.07})
    # Seed 0 alone is best elsewhere, which the other seeds do not know.
    runs.loc[(runs["strength"] == 0.3) & (runs["seed"] == 0), "calibration_error_debiased"] = 0.0
    best = best_penalty.best_of(runs)
    assert list(best["strength"]) == [0.2] * 5
    table = best_penalty.examine({"mine": runs})
    assert list(table["objective"]) == ["γ = 3", "penalty 0.2"]
    assert table.loc[1, "ece"].startswith("-5.0 [")
    assert table.loc[1, "accuracy"].startswith("-10.0 [")


def test_two_strengths_are_too_few():
    assert best_penalty.best_of(penalised(runs_of({}), {0.1: 0.09, 0.2: 0.05})) is None


def test_the_committed_comparison_is_what_the_runs_say():
    committed = pd.read_csv(best_penalty_tool.FILE, keep_default_na=False, dtype=str)
    made = best_penalty.examine(neighbours_tool.committed_runs()).astype(str)
    pd.testing.assert_frame_equal(committed, made)
