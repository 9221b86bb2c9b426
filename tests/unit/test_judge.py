"""Every committed verdict can be recomputed from what is committed beside it."""

import shutil

import judge
import pandas as pd
import pytest
from checkout import ROOT


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
