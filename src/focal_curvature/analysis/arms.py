"""The runs of several experiments by network, and its objectives against one another by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from focal_curvature.analysis import pooled

FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Arm:
    """Runs of one objective: focal loss of a gamma, or cross-entropy with a regulariser."""

    gamma: float | None = None
    regulariser: str | None = None
    strength: float | None = None

    def of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return its completed runs, by seed."""
        mine = runs["status"] == "completed"
        if self.regulariser:
            mine &= (runs["regulariser"] == self.regulariser) & (runs["strength"] == self.strength)
            mine &= runs["gamma"].fillna(0) == 0
        else:
            mine &= (runs["gamma"] == self.gamma) & runs["regulariser"].isna()
        return runs[mine].set_index("seed")


PLAIN, FOCAL = Arm(gamma=0), Arm(gamma=3)
Network = tuple[str, str]  # experiment and model
Networks = Mapping[Network, pd.DataFrame]


def networks(experiments: Mapping[str, pd.DataFrame]) -> Networks:
    """Return the runs of each network; what experiments share is the largest one's."""
    columns = dict.fromkeys(column for runs in experiments.values() for column in runs)
    seen: set[Any] = set()
    found = {}
    for name, runs in sorted(experiments.items(), key=lambda item: -len(item[1])):
        keys = pooled.same_run(runs)
        fresh = runs[~keys.isin(seen)].reindex(columns=list(columns))
        seen |= set(keys)
        found |= {(name, model): rows for model, rows in fresh.groupby("model", sort=False)}
    return found
