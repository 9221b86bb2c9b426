"""Write what is committed into README.md and docs/, each piece between two marks.

README.md has the answer, docs/results.md the verdicts, pooled and of each experiment, and numbers;
other pages what the benchmarks measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import best_penalty
import exploratory
import keys
import measured
import neighbours
import pandas as pd

from focal_curvature.analysis import answer
from focal_curvature.plotting.common import LOSS_LABELS

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by `make readme`{} -->\n", "<!-- end of what `make readme` makes -->\n"

ALL = "all models"
SYMBOLS = {
    "supported": "✓",
    "contradicted": "✗",
    "inconclusive": "?",
    "negligible": "≈",
    "mixed": "±",
    "not tested": "",
}

ANSWER = """
## The answer so far

{headline}Verdicts of each claim's tests, pooled over data sets and networks by a random-effects
meta-analysis of the committed runs ([each](docs/results.md#pooled), [in numbers](docs/pooled.md)):

"""
BESIDE = """
*Mixed*: networks' own tests speak for and against. Where each data set counts once, {told} of C1's
{tests} tests are significant. γ = 3 lowers ECE in {lower} of {networks} networks
([beyond the rules](docs/exploratory.md)). C5 was found in the runs of eight networks; its verdict
is on those that came after ([amendments](docs/rules.md#amendments)).

"""
POOLED = """
## Pooled

Over data sets and networks, by a random-effects meta-analysis; [every number](pooled.md). A symbol
per test: ✓ supported, ✗ contradicted (or excluded), ≈ negligible, ± networks disagree, ?
inconclusive; ! fragile: new seeds repeat it in under 80%, or one data set changes it.

| claim | its own loss | cross-entropy | of neither |
|---|:---:|:---:|:---:|
"""

HEAD = """
## Verdicts

By the rules of [`workflow/claims.yaml`](../workflow/claims.yaml), the same for every experiment,
which says what every statistic is and what decides, and which results were known when it was
written. All numbers and reasons: `paper_figures/<experiment>/tables/claims.md`. *Inconclusive* is
no evidence against a claim.

"""
FOOT = """
In bold the verdict for all models; below it each model's (✓ supported, ✗ contradicted, ≈
negligible, ? inconclusive, ± models disagree; ! fragile: new seeds give it again in fewer than 80%,
or one seed changes it), its effect (ρ: Spearman's correlation; points: percentage points) and the
effect's 95% interval. Interventions on trained networks have none: they are examples.

"""


NUMBERS = """
## Numbers, beside published ones

ECE in percent (15 bins), before → after temperature scaling, with the mean temperature T. Ours are
means over seeds with 95% intervals, the published ones are of one run each.

| data | network | accuracy, CE | CE | focal, γ = 3 | FLSD-53 | ECE floor, CE |
|---|---|---|---|---|---|---|
"""
NOT_COMPARABLE = """
Published: [Mukhoti et al. 2020](https://arxiv.org/abs/2002.09437), CIFAR-10 and CIFAR-100 in full,
350 epochs. Comparable is the pattern: whether focal loss lowers ECE where cross-entropy is
over-confident (T above 1), and what is left of the difference after temperature scaling. The values
are not: other images, smaller networks, shorter training.

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
            if row["verdict"] == "described":
                continue
            key = f"{row['family']}: {row['says']}", LOSS_LABELS.get(row["hessian_of"], "")
            cells.setdefault(key, {}).setdefault(experiment["experiment"], []).append(row)
    names = [experiment["experiment"] for experiment in experiments]
    lines = [["Claim", "Hessian of", *names], ["---"] * (2 + len(names))]
    for key, rows in cells.items():
        lines.append([*key, *(_cell(rows.get(name, [])) for name in names)])
    return HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines) + FOOT


def _cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict for all models, and every effect there is with its model's verdict."""
    overall = [
        f"**{row['verdict']}**{_mark(row)} {row['effect']}" for row in rows if row["model"] == ALL
    ]
    single = [
        f"{SYMBOLS[row['verdict']]}{_mark(row)} {row['model']} {row['effect']}"
        for row in rows
        if row["model"] != ALL and row["effect"]
    ]
    return "<br>".join(part.strip() for part in overall + single)


def _mark(row: Mapping[str, Any]) -> str:
    """Return what marks a verdict that new seeds may not give again."""
    return "!" if row.get("fragile") else ""


def render_numbers(summaries: Mapping[str, pd.DataFrame], published: pd.DataFrame) -> str:
    """Return the section of numbers in Markdown: a row per experiment and model, then others'.

    Parameters
    ----------
    summaries : mapping
        Experiment -> its ``summary.csv``.
    published : DataFrame
        ``docs/published.csv``.
    """
    lines = []
    for experiment, summary in summaries.items():
        for model, rows in summary.groupby("model", sort=False):
            means = rows.set_index(["objective", "metric"])[["mean", "high"]]
            lines.append(
                [experiment, model, _percent(means, "ce", "accuracy")]
                + [_scaled(means, objective) for objective in ("ce", "focal-3", "flsd")]
                + [_percent(means, "ce", "noise_floor")]
            )
    lines += [
        [f"{row.data} ({row.source})", row.network, "", row.ce, row.focal3, row.flsd, ""]
        for row in published.fillna("").itertuples()
    ]
    return NUMBERS + "".join(f"| {' | '.join(line)} |\n" for line in lines) + NOT_COMPARABLE


def _percent(means: pd.DataFrame, objective: str, metric: str) -> str:
    mean, high = 100 * means.loc[(objective, metric)]
    return f"{mean:.1f} ± {high - mean:.1f}"


def _scaled(means: pd.DataFrame, objective: str) -> str:
    """Return ECE before and after temperature scaling, and the temperature."""
    if (objective, "ece") not in means.index:
        return ""
    before, after = (_percent(means, objective, metric) for metric in ("ece", "ece_scaled"))
    return f"{before} → {after} (T {means.loc[(objective, 'temperature'), 'mean']:.1f})"


def render_answer(pooled: pd.DataFrame, changes: pd.DataFrame) -> str:
    """Return the answer: two shares, a line per family of claims, and what is beside.

    Parameters
    ----------
    pooled : DataFrame
        ``docs/pooled.csv``. Sentences are made from its verdicts alone.
    changes : DataFrame
        Of ECE, as `focal_curvature.analysis.exploratory.changes` returns.
    """
    no, shares = answer.headline(pooled)
    lines = [ANSWER.format(headline=f"{no and f'**{no}** '}{shares}\n\n" if shares else "")]
    lines += [
        f"- **{family}**, {title}: {said}.\n" for family, title, said in answer.bullets(pooled)
    ]
    of_c1 = pooled.loc[pooled["family"] == "C1", "p_data_sets"].dropna()
    counts = {"told": (of_c1 < 0.05).sum(), "tests": len(of_c1)}
    moved = changes["gamma 3"].dropna()
    counts |= {"lower": (moved < 0).sum(), "networks": len(moved)}
    return "".join(lines) + BESIDE.format(**counts)


def render_pooled(pooled: pd.DataFrame) -> str:
    """Return the pooled verdicts, ``docs/pooled.csv``, as symbols."""
    shown = pooled[pooled["verdict"] != "not tested"].fillna({"hessian_of": ""})
    lines = [POOLED]
    for (family, claim), rows in shown.groupby(["family", "claim"], sort=False):
        cells = rows.groupby("hessian_of").apply(_symbols, include_groups=False)
        each = (cells.get(hessian, "") for hessian in (*LOSS_LABELS, ""))
        lines.append(f"| {family}: {answer.CLAIMS[claim]} | {' | '.join(each)} |\n")
    return "".join([*lines, "\n"])


def _symbols(rows: pd.DataFrame) -> str:
    """Return the symbols of some tests."""
    return " ".join(SYMBOLS[row.verdict] + "!" * row.fragile for row in rows.itertuples())


def begin(name: str) -> str:
    """Return the mark at which a section begins; a file's only section has no name."""
    return BEGIN.format(name and f": {name}")


def update(text: str, section: str, name: str = "") -> str:
    """Return a text with its section between the marks made anew."""
    before, mark, rest = text.partition(begin(name))
    if not mark:
        raise ValueError(f"there is no section {name!r}")
    return before + mark + section + END + rest.partition(END)[2]


def committed() -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    """Read the verdicts and the summaries of all committed experiments, in order of their names."""
    verdicts = sorted(ROOT.glob("paper_figures/*/claims.json"))
    tables = {file.parent.name: file.with_name("tables") / "summary.csv" for file in verdicts}
    return (
        [json.loads(file.read_text(encoding="utf-8")) for file in verdicts],
        {name: pd.read_csv(file) for name, file in tables.items()},
    )


def sections() -> dict[tuple[Path, str], str]:
    """Return each section by its file and its name there, from what is committed."""
    experiments, summaries = committed()
    numbers = render_numbers(summaries, pd.read_csv(ROOT / "docs/published.csv"))
    pooled = pd.read_csv(ROOT / "docs/pooled.csv")
    return {
        (ROOT / "README.md", ""): render_answer(pooled, pd.read_csv(exploratory.CHANGES)),
        (ROOT / "docs/results.md", ""): render_pooled(pooled) + render(experiments) + numbers,
        (ROOT / "docs/results.md", "best penalty"): best_penalty.render(
            pd.read_csv(best_penalty.FILE, keep_default_na=False, dtype=str)
        ),
        (ROOT / "docs/results.md", "neighbours"): neighbours.render(
            pd.read_csv(neighbours.FILE, keep_default_na=False, dtype=str)
        ),
        (ROOT / "config/README.md", ""): keys.table(),
    } | measured.sections()


if __name__ == "__main__":
    for (path, name), section in sections().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(update(text, section, name), encoding="utf-8")
