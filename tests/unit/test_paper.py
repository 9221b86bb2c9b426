"""The report is that of the committed numbers, and follows them."""

import json
import re
import shutil

import across
import pandas as pd
import paper
import pytest
import typst
from checkout import ROOT

from focal_curvature import plotting
from focal_curvature.plotting.across import FIGURES

READ = ("paper", "paper_figures", "config", "config.yaml", "workflow/claims.yaml")
READ += (
    "docs/pooled.csv",
    "docs/exploratory.csv",
    "docs/exploratory_ece.csv",
    "docs/neighbours.csv",
    "docs/best_penalty.csv",
    "benchmarks/results/rules.json",
)


@pytest.fixture
def copied(tmp_path):
    for name in READ:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_committed_report_is_that_of_the_committed_files(copied):
    committed = (ROOT / "paper/report.pdf").read_bytes()
    assert paper.build(copied) == committed, "make paper"


def test_the_report_follows_the_pooled_verdicts(copied):
    file = copied / "docs/pooled.csv"
    pooled = pd.read_csv(file, keep_default_na=False, dtype=str)
    before = paper.build(copied)
    pooled.loc[0, "estimate"] = "123.4"
    pooled.to_csv(file, index=False)
    assert paper.build(copied) != before
    pooled.drop(columns="replication").to_csv(file, index=False)
    with pytest.raises(typst.TypstError, match="replication"):
        paper.build(copied)


def texts(content):
    """Yield the texts in a queried element, in their order."""
    if isinstance(content, list):
        for part in content:
            yield from texts(part)
    elif isinstance(content, dict):
        if content.get("func") in ("text", "raw"):
            yield content["text"]
        elif content.get("func") == "space":
            yield " "
        else:
            yield from texts([*content.values()])


def table(root, label):
    """Return what a table of the report reads."""
    settings = {"root": str(root), "sys_inputs": paper.inputs(root)}
    (found,) = json.loads(typst.query(str(root / "paper/report.typ"), f"<{label}>", **settings))
    return "".join(texts(found["body"]))


def test_the_pooled_numbers_are_those_of_the_table():
    read = table(ROOT, "pooled-numbers")
    pooled = pd.read_csv(ROOT / "docs/pooled.csv").query("verdict != 'not tested'")
    for row in pooled.dropna(subset="estimate").itertuples():
        for value in (row.estimate, row.low, row.high):
            shown = f"{value:z.2f}" if abs(value) < 0.995 else f"{value:z.1f}"
            assert shown.replace("-", "\N{MINUS SIGN}") in read, (row.says, value)
    for verdict, times in pooled["verdict"].value_counts().items():
        assert read.count(verdict) == times


def test_the_calibration_of_every_network_is_that_of_the_summaries():
    read = table(ROOT, "calibration")
    for file in ROOT.glob("paper_figures/*/claims.json"):
        summary = pd.read_csv(file.with_name("tables") / "summary.csv")
        chosen = summary[
            summary["objective"].isin(["ce", "focal-3"]) & (summary["metric"] == "ece")
        ]
        for row in chosen.itertuples():
            assert f"{100 * row.mean:.1f} ± {100 * (row.high - row.mean):.1f}" in read


@pytest.mark.parametrize("label", ["settings", "tally", "size", "calibration", "pooled-numbers"])
def test_no_number_is_missing(label):
    read = table(ROOT, label)
    assert read
    assert not re.search(r"\b(nan|inf|null)\b", read, re.IGNORECASE)


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_over_all_experiments_are_of_the_committed_numbers(figure):
    made = plotting.load(f"across.{figure}").prepare(across.tables(ROOT)).reset_index(drop=True)
    committed = pd.read_csv(ROOT / f"paper/figures/{figure}.csv")
    if "hessian_of" in committed:
        committed = committed.fillna({"hessian_of": ""})
    pd.testing.assert_frame_equal(made, committed, check_dtype=False)
