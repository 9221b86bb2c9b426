"""`make reproduce` makes the report again where something that it shows is newer."""

import os
import shutil
import subprocess

import pytest
from checkout import ROOT

RUNS, FIGURE = "results/digits/runs.csv", "paper_figures/digits/trace.png"
REPORT = "results/digits/report.html"


@pytest.mark.parametrize(
    ("times", "made"),
    [
        ({RUNS: 1, FIGURE: 1}, True),
        ({RUNS: 1, FIGURE: 1, REPORT: 2}, False),
        ({RUNS: 3, FIGURE: 1, REPORT: 2}, True),
        ({RUNS: 1, FIGURE: 3, REPORT: 2}, True),
    ],
)
def test_the_report_is_made_where_it_is_not_the_newest(tmp_path, times, made):
    shutil.copy2(ROOT / "Makefile", tmp_path)
    folder = tmp_path / "paper_figures/digits/tables"
    folder.mkdir(parents=True)
    (folder / "summary.csv").touch()
    for file in times:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for file in tmp_path.rglob("*"):
        time = times.get(str(file.relative_to(tmp_path)), 1)
        os.utime(file, (time, time))
    command = ["make", "-o", "venv/installed", "reproduce", "VENV=venv", "SNAKEMAKE=echo ran"]
    # Without a report the list of files at the end fails.
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert (f"ran --report {REPORT}\n" in done.stdout.splitlines(keepends=True)) == made
