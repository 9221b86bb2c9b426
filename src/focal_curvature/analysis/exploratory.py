"""C4 and C5 at another gamma and on other outcomes than the rules fix; it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from focal_curvature.analysis import pooled
from focal_curvature.analysis.arms import PLAIN, Arm

ASKED = {
    "gammas": [1, 3],
    "outcomes": ["calibration_error_debiased", "nll_calibration", "confidence_gap"],
}
NO_VERDICTS = ["verdict", "replication", "leave_one_out", "fragile"]


def changes(networks: Mapping[tuple[str, str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return the mean change of ECE at each gamma, and the gaps behind it, in points, by seed.

    Parameters
    ----------
    networks : mapping
        As `focal_curvature.analysis.pooled.networks` returns; those with the Gauss-Newton penalty,
        which C4's direct test needs, are there.

    Returns
    -------
    DataFrame
        data set, network, and ``gamma <value>`` for each; the gap of confidence to accuracy of
        cross-entropy (``gap``), at the last gamma (``gap then``) and there with focal loss's map
        undone (``map undone``). NaN without such runs or scores.
    """
    rows = []
    for (data_set, model, _), runs in networks.items():
        if "regulariser" not in runs or not (runs["regulariser"] == "gauss_newton_trace").any():
            continue
        plain = PLAIN.of(runs)
        row: dict[str, Any] = {"data set": data_set, "network": model}
        for gamma in ASKED["gammas"]:
            focal = Arm(gamma=gamma).of(runs)
            row[f"gamma {gamma}"] = 100 * (focal["ece"] - plain["ece"]).mean()
        pairs = {
            "gap at gamma 0": (plain, "confidence_gap"),
            f"gap at gamma {gamma}": (focal, "confidence_gap"),
            "map undone": (focal, "confidence_gap_psi"),
        }
        row |= {k: 100 * arm[c].mean() if c in arm else np.nan for k, (arm, c) in pairs.items()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["data set", "network"], ignore_index=True)


def shares(experiments: Mapping[str, pd.DataFrame], rules: Mapping[str, Any]) -> pd.DataFrame:
    """Pool C4's and C5's shares at each gamma and on each outcome, without verdicts.

    By `pooled.judge`, of all networks, those that a claim was made from as well.
    """
    asked = {
        name: rules["claims"][name] | ASKED | {"outcomes_beside": [], "found_in": []}
        for name in ("c4_direct", "c4_mediation", "c5_map")
    }
    found = pooled.judge(experiments, {**rules, "claims": asked, "replications": 1})
    return found.drop(columns=NO_VERDICTS)
