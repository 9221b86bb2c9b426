"""Every committed verdict can be recomputed from what is committed beside it."""

import ast
import os
import shutil
import subprocess
import sys

import judge
import pandas as pd
import prepare
import pytest
from checkout import ROOT

from focal_curvature.provenance import PORTABLE_KERNELS

# Runs a script up to where it imports numpy, then says what numpy would have been loaded with.
SCRIPT = """
import os, runpy, sys
sys.path.insert(0, "tools")
sys.modules["numpy"] = None
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
except ImportError:
    print(sorted(os.environ.items()))
"""


@pytest.mark.parametrize("experiment", ["letters", "cifar10_jpeg_cpu", "cifar10_jpeg_penalties"])
def test_the_committed_verdicts_follow_from_the_committed_tables(tmp_path, experiment):
    kept = ROOT / "paper_figures" / experiment
    for name in ("runs.csv", "tables/controls.csv"):
        if (kept / name).exists():
            (tmp_path / experiment / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(kept / name, tmp_path / experiment / name)
    (tmp_path / experiment / "tables").mkdir(exist_ok=True)
    (tmp_path / experiment / "data").mkdir()
    judge.judge(tmp_path / experiment)
    made, committed = (
        pd.read_csv(folder / "tables/claims.csv") for folder in (tmp_path / experiment, kept)
    )
    assert (committed["verdict"] != "not tested").any()
    pd.testing.assert_frame_equal(made, committed, rtol=1e-4, atol=1e-9)


def test_tables_by_run_and_those_behind_figures_are_made_anew_and_no_others(tmp_path):
    kept, made = ROOT / "paper_figures/cifar10_jpeg_fit", tmp_path / "cifar10_jpeg_fit"
    for part in ("tables", "data"):
        (made / part).mkdir(parents=True)
    for name in ("runs", "reliability", "histories"):
        shutil.copy2(kept / f"{name}.csv", made)
    prepare.prepare(made)
    for name in ("tables/predictors.csv", "tables/summary.csv", "data/predictors.csv"):
        tables = (pd.read_csv(folder / name) for folder in (made, kept))
        pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-9)
    names = [{file.name for file in folder.glob("data/*.csv")} for folder in (made, kept)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    "script", ["across", "best_penalty", "judge", "neighbours", "pooled", "prepare"]
)
def test_what_a_script_makes_is_made_with_the_workflows_kernels(script):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"tools/{script}.py"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in PORTABLE_KERNELS}
        | {"PYTHONPATH": "src"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(PORTABLE_KERNELS.items()) <= set(ast.literal_eval(done.stdout))
