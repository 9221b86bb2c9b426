import numpy as np
import pandas as pd
import pytest
from scipy import stats

from focal_curvature.tables import trajectory


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {"model": "cnn", "objective": objective, "seed": 0, "epoch": epoch}
        | {"same_weights": objective == "ce"}
        | {measure: generator.lognormal() for measure in trajectory.MEASURES}
        | {f"{split}_ece": generator.uniform() for split in trajectory.SPLITS}
        for objective in ("ce", "focal-2")
        for epoch in (1, 2, 4, 8)
    )


def test_correlations_are_pearsons_within_a_run(table):
    found = trajectory.prepare({"trajectory": table})
    assert len(found) == 2 * 2 * len(trajectory.MEASURES)
    run = table[table["objective"] == "focal-2"]
    for _, row in found[found["objective"] == "focal-2"].iterrows():
        expected = stats.pearsonr(run[row["measure"]], run[f"{row['split']}_ece"]).statistic
        assert row["r"] == pytest.approx(expected)
    assert found["n"].eq(4).all()


def test_what_is_not_known_or_does_not_vary_has_no_correlation(table):
    first, second, *_ = trajectory.MEASURES
    table.loc[0, first] = np.nan
    table[second] = 1.0
    found = (
        trajectory.prepare({"trajectory": table}).query("objective == 'ce'").set_index("measure")
    )
    assert found.loc[first, "n"].eq(3).all()
    assert found.loc[second, "r"].isna().all()
    printed = trajectory.printed(trajectory.prepare({"trajectory": table}))
    assert (printed[trajectory.MEASURES[second]] == "-").all()
    assert list(printed["n"]) == [3, 3, 4, 4]


def test_measures_less_exact_than_asked_are_counted_and_marked(table):
    measure, *_ = trajectory.MEASURES
    assert trajectory.prepare({"trajectory": table})["unconverged"].isna().all()
    table[f"{measure}_converged"] = table["epoch"] > 2
    found = trajectory.prepare({"trajectory": table}).set_index("measure")
    assert found.loc[measure, "unconverged"].eq(2).all()
    printed = trajectory.printed(found.reset_index())
    assert printed[trajectory.MEASURES[measure]].str.endswith(" !").all()
    assert not printed[trajectory.MEASURES["trace_objective"]].str.contains("!").any()


def test_a_run_that_ended_with_other_weights_is_told(table):
    found = trajectory.prepare({"trajectory": table})
    assert (found["same_weights"] == (found["objective"] == "ce")).all()
    assert list(trajectory.printed(found)["Same weights"]) == ["yes", "yes", "no", "no"]
