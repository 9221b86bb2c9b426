"""Hold focal loss against the best strength of a penalty; write docs/best_penalty.csv."""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import pandas as pd
from measured import table
from neighbours import committed_runs

from focal_curvature.analysis.best_penalty import COLLAPSED, COLUMNS, examine

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/best_penalty.csv"
HEAD = """
## Focal loss beside the best penalty

Networks with γ = 3 and at least three strengths of the Gauss-Newton penalty: change from
cross-entropy, paired by seed, with its 95% interval. Each seed's strength is the one that is
calibrated best on all other seeds (squared calibration error), so that the choice does not favour
the penalty. Nor does it ask for accuracy: a network that predicts every class alike is calibrated.
*Collapsed*: runs with less than half of cross-entropy's accuracy, which the means contain.

"""


def render(compared: pd.DataFrame) -> str:
    """Return the section in Markdown."""
    head = ["experiment", "network", "objective", *COLUMNS.values(), COLLAPSED]
    return HEAD + table(head, compared.astype(str).to_numpy().tolist()) + "\n"


if __name__ == "__main__":
    examine(committed_runs()).to_csv(FILE, index=False)
