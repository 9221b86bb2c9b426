"""Write the verdicts of all committed experiments into README.md, between its two marks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- verdicts, made by `make readme` -->\n", "<!-- end of the verdicts -->\n"

ALL = "all models"
HESSIANS = {"objective": "training objective", "cross_entropy": "cross-entropy"}
SYMBOLS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?"}

HEAD = """
## Verdicts

By the rules of [`workflow/claims.yaml`](workflow/claims.yaml), the same for every experiment, which
says what every statistic is and what decides, and which results were known when it was written. All
numbers and reasons: `paper_figures/<experiment>/tables/claims.md`. *Inconclusive* is no evidence
against a claim.

"""
FOOT = """
In bold the verdict for all models; below it each model's (✓ supported, ✗ contradicted,
? inconclusive), its effect (ρ: Spearman's correlation; points: percentage points of ECE) and the
effect's 95% interval.

"""


def render(experiments: Sequence[Mapping[str, Any]]) -> str:
    """Return the section in Markdown: a row per claim and Hessian, a column per experiment.

    Parameters
    ----------
    experiments : sequence of mappings
        Contents of their ``claims.json``. Without any there is no section.
    """
    if not experiments:
        return ""
    cells: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for experiment in experiments:
        for row in experiment["claims"]:
            key = f"{row['family']}: {row['says']}", HESSIANS[row["hessian_of"]]
            cells.setdefault(key, {}).setdefault(experiment["experiment"], []).append(row)
    names = [experiment["experiment"] for experiment in experiments]
    lines = [["Claim", "Hessian of", *names], ["---"] * (2 + len(names))]
    for key, found in cells.items():
        lines.append([*key, *(_cell(found.get(name, [])) for name in names)])
    return HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines) + FOOT


def _cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict for all models, and every effect there is with its model's verdict."""
    overall = [f"**{row['verdict']}** {row['effect']}" for row in rows if row["model"] == ALL]
    single = [
        f"{SYMBOLS[row['verdict']]} {row['model']} {row['effect']}"
        for row in rows
        if row["model"] != ALL and row["effect"]
    ]
    return "<br>".join(part.strip() for part in overall + single)


def update(readme: str, experiments: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of README.md with its section made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + render(experiments) + END + after


def committed() -> list[dict[str, Any]]:
    """Read the verdicts of all committed experiments, in the order of their names."""
    files = sorted(ROOT.glob("paper_figures/*/claims.json"))
    return [json.loads(file.read_text()) for file in files]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(update(path.read_text(), committed()))
