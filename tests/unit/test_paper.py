"""The report is that of the committed numbers, and follows them."""

import shutil

import pandas as pd
import paper
import pytest
import typst
from checkout import ROOT

READ = ("paper", "paper_figures", "config", "config.yaml", "workflow/claims.yaml")
READ += ("docs/pooled.csv", "benchmarks/results/rules.json")


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
