"""C4 and C5 at another gamma and on other outcomes, after the fact; write docs/exploratory*.

    PYTHONPATH=src python tools/exploratory.py

The rules fix gamma 3, which calibrates few of the committed networks. This asks the same questions
where gamma calibrates. The results were known when it was written: it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import numpy as np
import pandas as pd
import yaml
from measured import table
from neighbours import committed_runs

from focal_curvature.analysis import pooled
from focal_curvature.analysis.exploratory import changes, shares

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/exploratory.csv"
CHANGES = ROOT / "docs/exploratory_ece.csv"
HEAD = """# Beyond the rules

The rules ask what gamma 3 does, on two outcomes. After all runs were known, a referee's questions
remained; their answers are here, and count as no verdict.

## Which networks gamma calibrates

Change of ECE from cross-entropy, same seeds, in points. Where focal loss does not calibrate, there
is nothing that flattening could explain, and a fall of the signed gap is under-confidence. Beside
it the gap of confidence to accuracy, of which ECE is nearly the size: of cross-entropy, at gamma 3,
and there with focal loss's own map undone. So gamma 3 calibrates where cross-entropy is
over-confident by more than half of what the map takes away.

"""
SHARES = """
## The share by flattening, and by the map, at gamma 1 and 3, on every outcome

As in [the pooled verdicts](pooled.md): the share of gamma's effect that a penalty of the same
curvature gives (*direct*), or that goes through curvature among runs of equal gamma (*mediation*);
above one half speaks for *because*. Of networks in which gamma lowers the outcome significantly and
does not raise the curvature; where fewer than three are left, there is no row: gamma raises
cross-entropy's trace in most. And the share that is gone with focal loss's own map undone (*map*),
of all networks in which gamma changes the outcome significantly, those that C5 was found in as
well. NLL's calibration part rests on the most certain errors, on which networks differ by more than
the map. In brackets 95% intervals.

"""
SHARE = "share above one half"


def printed(found: pd.DataFrame, rules: Mapping) -> str:
    """Lay the shares that could be pooled out in Markdown."""
    rows = []
    for row in found[found["part"] == SHARE].itertuples():
        ends = [0.5 + value for value in (row.estimate, row.low, row.high)]
        rows.append(
            [
                row.claim.split("_")[1],
                f"{row.gamma:g}",
                rules["outcomes"][row.outcome]["label"],
                rules["measures"].get(row.measure, ""),
                row.hessian_of.replace("_", "-"),
                "{:.2f} [{:.2f}, {:.2f}]".format(*ends),
                str(row.effects),
            ]
        )
    head = ["by", "gamma", "outcome", "measure", "Hessian of", "share", "networks"]
    return table(head, rows)


def made() -> dict[Path, str]:
    """Return the files with their texts, from what is committed."""
    rules = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text(encoding="utf-8"))
    experiments = committed_runs()
    moved = changes(pooled.networks(experiments, rules["alike"]))
    found = shares(experiments, rules)
    cells = [
        [str(row[0]), str(row[1]), *("" if np.isnan(v) else f"{v:+.1f}" for v in row[2:])]
        for row in moved.itertuples(index=False)
    ]
    return {
        CHANGES: moved.round(6).to_csv(index=False),
        FILE: found.round(6).to_csv(index=False),
        FILE.with_suffix(".md"): HEAD + table(list(moved), cells) + SHARES + printed(found, rules),
    }


if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text, encoding="utf-8")
