"""The table of predictors on runs whose calibration is known to follow one of them."""

import numpy as np
import pandas as pd
import pytest

from focal_curvature.runs import intervention
from focal_curvature.tables import predictors

VARIANTS = [None, *(f"epochs-{n}" for n in (3, 5, 8)), "adam", "step-0.1", "step-0.5"]


def table_of(rule, seeds=6, drop=()):
    """Runs of a log trace and a training accuracy; ``rule`` gives the gap from both."""
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for number, variant in enumerate(VARIANTS):
            log_trace, accuracy = number + generator.normal(), generator.uniform()
            gap = rule(log_trace, accuracy, variant) + 0.001 * generator.normal()
            rows.append(
                {"model": f"lenet-{variant}" if variant else "lenet", "architecture": "lenet"}
                | {"variant": variant, "objective": "ce", "seed": seed}
                | {"trace_cross_entropy": np.nan if (seed, variant) in drop else np.exp(log_trace)}
                | {"train_accuracy": accuracy, "top_eigenvalue_cross_entropy": number or np.nan}
                | {"confidence_gap": gap, "ece": abs(gap)}
            )
    return predictors.prepare({"runs": pd.DataFrame(rows)})


def overall(table, outcome="confidence_gap"):
    mine = table[(table["outcome"] == outcome) & (table["intervention"] == "all")]
    return mine.set_index("predictor")


def test_what_calibration_follows_foretells_it_and_nothing_else_does():
    found = overall(table_of(lambda log_trace, accuracy, variant: 0.1 * log_trace))
    assert found.loc["trace_cross_entropy", "error"] < 0.003
    assert found.loc["trace_cross_entropy", "tau"] > 0.9
    for rival in ("train_accuracy", "none"):
        assert found.loc[rival, "difference_low"] > 0.05
        assert found.loc[rival, "p_holm"] < 0.05
    assert found.loc["none", "tau"] == 0
    rival = overall(table_of(lambda log_trace, accuracy, variant: -0.3 * accuracy))
    assert rival.loc["train_accuracy", "difference_high"] < 0
    assert rival.loc["train_accuracy", "tau"] < -0.9


def test_a_line_that_one_intervention_breaks_errs_under_that_one():
    rule = lambda log_trace, accuracy, variant: 0.1 * log_trace + 0.5 * (variant == "adam")  # noqa: E731
    table = table_of(rule)
    mine = table[(table["outcome"] == "confidence_gap") & table["predictor"].str.startswith("tr")]
    by = mine[mine["predictor"] == "trace_cross_entropy"].set_index("intervention")["error"]
    assert by.drop("all").idxmax() == "adam"
    assert by["adam"] == pytest.approx(0.5, abs=0.01)
    assert by["all"] == pytest.approx(by.drop("all").mean())
    shown = predictors.printed(table)
    worst = shown[(shown["Outcome"] == "Confidence gap") & (shown["Predictor"] == "Hessian trace")]
    assert worst["Largest error"].item() == "50.0 (adam)"


def test_the_error_is_that_of_a_line_through_the_other_interventions():
    table = table_of(lambda log_trace, accuracy, variant: accuracy, seeds=1)
    x = np.array([1.0, 2.0, 4.0, 5.0])
    y = np.array([1.0, 3.0, 5.0, 9.0])
    held_out = np.array([False, False, False, True])
    slope, start = np.polyfit(x[:3], y[:3], 1)
    error = predictors._error(predictors._line, x, y, held_out)
    assert error == pytest.approx(abs(start + 5 * slope - 9))
    # One seed has an error, but no interval.
    assert table["error"].notna().all()
    assert table["error_low"].isna().all()


def test_neighbours_follow_a_relation_that_turns_and_a_line_does_not():
    x = np.linspace(-1, 1, 41)
    y = x**2
    held_out = np.arange(41) % 4 == 0
    line, near = (
        predictors._error(fit, x, y, held_out) for fit in (predictors._line, predictors._neighbours)
    )
    assert line > 0.9 * np.std(y)
    assert near < 0.5 * np.std(y)


def test_neighbours_of_what_does_not_vary_are_all_runs():
    y = np.arange(12.0)
    held_out = y > 9
    error = predictors._error(predictors._neighbours, np.ones(12), y, held_out)
    assert error == pytest.approx(np.sqrt(np.mean((y[held_out] - y[~held_out].mean()) ** 2)))


def test_a_seed_without_a_run_is_left_out_and_a_variant_without_seeds_as_well():
    rule = lambda log_trace, accuracy, variant: accuracy  # noqa: E731
    assert set(table_of(rule, drop={(2, "adam")})["seeds"]) == {5}
    lost = table_of(rule, drop={(seed, "adam") for seed in range(6)})
    assert set(lost["intervention"]) == {"all", "epochs", "step"}
    assert set(lost["seeds"]) == {6}
    # The top eigenvalue of the plain way of training is never known.
    assert set(lost["predictor"]) == {"trace_cross_entropy", "train_accuracy", "none"}


@pytest.mark.parametrize("left", [[], [None], [None, "epochs-3", "epochs-5", "epochs-8"]])
def test_runs_without_two_interventions_make_an_empty_table(left):
    drop = {(seed, variant) for seed in range(6) for variant in VARIANTS if variant not in left}
    table = table_of(lambda *_: 0.0, drop=drop)
    assert table.empty
    assert list(table) == predictors.COLUMNS
    assert predictors.printed(table).empty


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("epochs-3", "epochs"),
        ("weight_decay-0.0005", "weight_decay"),
        ("adam", "adam"),
        ("both-epochs3-label_noise0.1", "both"),
        ("optimizer-adamw", "optimizer"),
    ],
)
def test_an_intervention_is_a_variant_without_its_values(variant, name):
    assert intervention(variant) == name
