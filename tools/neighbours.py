"""Hold what others found against the committed runs; write docs/neighbours.csv."""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__":
    import portable  # noqa: F401

import pandas as pd
from measured import table

from focal_curvature.analysis.neighbours import examine

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/neighbours.csv"
HEAD = """
## Beside what others found

Of each network of each experiment that has what is asked for: differences are paired by seed,
*lower* and *higher* mean that the 95% interval over seeds is without zero. *Agrees*: more than half
of the networks are as was found; *contradicts*: more than half are the other way; else *divided*.
Networks and training are not theirs: this tells how far a finding carries, not whether it was right
where it was made.

"""


def render(findings: pd.DataFrame) -> str:
    """Return the section in Markdown: a row per finding."""
    rows = []
    for row in findings.itertuples():
        source = f"[{row.who}](https://arxiv.org/abs/{row.arxiv})" if row.arxiv else row.who
        rows.append([source, row.finding, f"**{row.verdict}**", row.words])
    return HEAD + table(["who", "found that", "ours", "in the committed runs"], rows) + "\n"


def committed_runs(having: str = "claims.json") -> dict[str, pd.DataFrame]:
    """Read the runs of all committed experiments that have a file; by default, verdicts."""
    files = sorted(ROOT.glob(f"paper_figures/*/{having}"))
    return {file.parent.name: pd.read_csv(file.with_name("runs.csv")) for file in files}


if __name__ == "__main__":
    examine(committed_runs("runs.csv")).to_csv(FILE, index=False)
