"""The table of interventions."""

import pandas as pd
import pytest

from focal_curvature.tables import controls


@pytest.mark.parametrize(
    ("converged", "mark"), [(True, ""), (False, " (not converged)"), (None, "")]
)
def test_what_has_not_converged_is_marked(converged, mark, tmp_path):
    row = {"model": "mlp", "objective": "ce", "value": None, "ece": 0.1}
    row |= dict.fromkeys(["trace", "trace_gauss_newton", "adaptive_sharpness"], 2.0)
    row |= {"top_eigenvalue": 1.5, "top_eigenvalue_converged": converged}
    # Psi leaves a posterior, which has no curvature.
    psi = {"model": "mlp", "objective": "ce", "control": "psi", "value": 2, "ece": 0.1}
    pd.DataFrame([row | {"control": "none"}, psi]).to_csv(tmp_path / "controls.csv", index=False)
    trained, posterior = controls.printed(pd.read_csv(tmp_path / "controls.csv")).to_dict("records")
    assert trained["λmax"] == "1.5" + mark
    assert trained["Trace"] == "2"
    assert posterior["λmax"] == "-"
