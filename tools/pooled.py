"""Pool the verdicts of all experiments; write docs/pooled.csv and docs/pooled.md.

    PYTHONPATH=src python tools/pooled.py [runs.csv ...]

Without files: those of all committed experiments that have verdicts.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import pandas as pd
import yaml
from neighbours import committed_runs

from focal_curvature.analysis import pooled, summary

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Judge, and write the tables."""
    rules = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text(encoding="utf-8"))
    files = [Path(file).resolve() for file in sys.argv[1:]]
    experiments = {file.parent.name: pd.read_csv(file) for file in files} or committed_runs()
    if not experiments:
        sys.exit("no runs.csv is committed: name the files")
    table = pooled.judge(experiments, rules)
    shown = {f"Pooled over {', '.join(experiments)}": pooled.printed(table)}
    outputs = [ROOT / f"docs/pooled.{kind}" for kind in ("csv", "md")]
    summary.write(table, shown, outputs)


if __name__ == "__main__":
    main()
