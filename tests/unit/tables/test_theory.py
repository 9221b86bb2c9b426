import pandas as pd
import pytest

from focal_curvature.analysis import summary
from focal_curvature.tables import theory


@pytest.fixture
def table():
    bound = pd.DataFrame(
        {"model": "cnn", "seed": seed, "gamma": gamma, "entropy": entropy}
        | {"holds": holds * (1 - 0.5 * seed), "largest_violation": violation * (1 + seed)}
        for seed in (0, 1)
        for gamma in (2.0, 0.5)
        for entropy, holds, violation in (("full", 1.0, 0.0), ("true class", 0.4, 0.01))
    )
    logit_curvature = pd.DataFrame(
        {"model": "cnn", "seed": seed, "gamma": 2.0, "ratio": 0.5 + 0.2 * seed}
        | {"negative": 0.01, "largest_deviation": 10.0 ** -(8 + seed)}
        for seed in (0, 1)
    )
    posterior = pd.DataFrame(
        {"gamma": 2.0, "variant": variant, "temperature": 0.5, "mean_absolute_error": error}
        | {"kullback_leibler": error, "confidence_bias": -error}
        for variant, error in (("raw", 0.3), ("scaled", 0.2), ("psi", 0.1))
    )
    return theory.prepare(
        {"bound": bound, "logit_curvature": logit_curvature, "posterior": posterior}
    )


def test_a_number_is_over_all_runs_of_a_model_and_gamma(table):
    cells = table.set_index(["part", "gamma", "case", "measure"])
    values = cells["value"]
    assert values["bound", 0.5, "true class", "holds"] == pytest.approx(0.3)
    assert values["bound", 0.5, "true class", "largest_violation"] == 0.02
    assert values["logit_curvature", 2, "", "ratio"] == pytest.approx(0.6)
    assert values["logit_curvature", 2, "", "largest_deviation"] == 1e-8
    assert values["posterior", 2, "psi", "kullback_leibler"] == 0.1
    runs = {"bound": 2, "logit_curvature": 2, "posterior": 1}
    assert dict(cells["n"].groupby("part").max()) == runs


def test_each_part_is_printed_as_a_table(table):
    bound, curvature, posterior = theory.printed(table).values()
    assert list(bound["γ"]) == ["0.5", "2"]
    assert list(bound["Holds, entropy (%)"]) == ["75.00", "75.00"]
    assert list(bound["Holds, true class's term (%)"]) == ["30.00", "30.00"]
    assert list(curvature["Largest deviation from closed form"]) == ["1.0e-08"]
    assert list(posterior["Estimate"]) == ["as trained", "temperature scaled", "Ψ"]
    assert list(posterior["T"]) == ["", "0.50", ""]
    assert r"$\Psi$" in summary.latex(posterior)
