"""C4 at another gamma and on other outcomes than the rules fix; it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from focal_curvature.analysis import pooled
from focal_curvature.analysis.arms import PLAIN, Arm

ASKED = {
    "gammas": [1, 3],
    "outcomes": ["calibration_error_debiased", "nll_calibration", "confidence_gap"],
}
NO_VERDICTS = ["verdict", "replication", "leave_one_out", "fragile"]


def changes(networks: Mapping[tuple[str, str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return the mean change of ECE at each gamma, in points, paired by seed.

    Parameters
    ----------
    networks : mapping
        As `focal_curvature.analysis.pooled.networks` returns; those with the Gauss-Newton penalty,
        which C4's direct test needs, are there.

    Returns
    -------
    DataFrame
        data set, network, and ``gamma <value>`` for each; NaN without such runs.
    """
    rows = []
    for (data_set, model, _), runs in networks.items():
        if "regulariser" not in runs or not (runs["regulariser"] == "gauss_newton_trace").any():
            continue
        plain = PLAIN.of(runs)["ece"]
        row: dict[str, Any] = {"data set": data_set, "network": model}
        for gamma in ASKED["gammas"]:
            row[f"gamma {gamma}"] = 100 * (Arm(gamma=gamma).of(runs)["ece"] - plain).mean()
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["data set", "network"], ignore_index=True)


def shares(experiments: Mapping[str, pd.DataFrame], rules: Mapping[str, Any]) -> pd.DataFrame:
    """Pool C4's shares at each gamma and on each outcome by `pooled.judge`, without verdicts."""
    asked = {
        name: rules["claims"][name] | ASKED | {"outcomes_beside": []}
        for name in ("c4_direct", "c4_mediation")
    }
    found = pooled.judge(experiments, {**rules, "claims": asked, "replications": 1})
    return found.drop(columns=NO_VERDICTS)
