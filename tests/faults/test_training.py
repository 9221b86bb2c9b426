"""Training and curvature jobs are killed, stopped, and left without memory: real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("driver.py")
OUTPUTS = ["history.csv", "logits.npz", "model.pt", "run.json"]


def drive(folder, *command):
    done = subprocess.run(
        [sys.executable, DRIVER, folder, *command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_run_killed_twenty_times_at_random_ends_with_the_same_bits(tmp_path):
    found = drive(tmp_path, "kill", "20")
    assert found["kills"] == 20
    assert found["identical"]
    assert all(found["identical"])
    assert any(found["resumed"])
    assert found["left"] == OUTPUTS


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_each_of_its_writes_ends_with_the_same_bits(tmp_path, when):
    """Two checkpoints and four outputs, before and after each gets its name."""
    found = drive(tmp_path, "writes", when)
    assert len(found) == 6
    assert all(case["identical"] for case in found)
    assert all(case["left"] == OUTPUTS for case in found)
    # What is lost is what the last checkpoint does not have, also while the outputs are written.
    first = [0] if when == "before" else []
    assert [case["resumed"] for case in found] == [*first, 1, 2, 2, 2, 2, 2][:6]
    # The record comes last: where it is, everything is.
    assert [set(OUTPUTS) <= set(case["found"]) for case in found] == [False] * 5 + [when == "after"]


def test_a_checkpoint_made_with_other_bins_or_versions_is_not_used(tmp_path):
    assert drive(tmp_path, "changed") == {"nothing": 1, "bins": 0, "version": 0}


def test_a_run_that_is_asked_to_stop_keeps_its_work_and_says_so(tmp_path):
    found = drive(tmp_path, "terminate", "5")
    assert found["codes"] == [75] * 5
    assert all("the same command goes on from there" in text for text in found["screens"])
    assert found["left"] == [["checkpoint.pt"]] * 5
    assert (found["last"], found["identical"]) == (0, True)
    assert found["resumed"] >= 5


def test_a_cell_trained_as_one_stops_and_goes_on_as_one(tmp_path):
    found = drive(tmp_path, "terminate_cell")
    assert found["code"] == 75
    assert "stopped: stopped after epoch" in found["screen"].replace("small_cnn/focal-2", "stopped")
    assert found["left"] == [["checkpoint.pt"], []]
    assert (found["last"], found["identical"]) == (0, [True, True])
    assert found["resumed"][0] == found["resumed"][1] > 0
    assert found["after"] == [OUTPUTS] * 2


def test_a_job_that_outlived_its_workflow_does_not_overwrite_its_successor(tmp_path):
    found = drive(tmp_path, "twins")
    assert found["codes"] == [0, 0]
    assert "waiting for another process" in found["screen"]
    assert found["fresh"]


def test_a_curvature_job_waits_for_the_folders_of_all_its_runs(tmp_path):
    found = drive(tmp_path, "locked")
    assert found["before"] == []
    assert found["code"] == 0
    assert found["after"] == ["cross_entropy.json", "objective.json"]


def test_where_memory_is_short_a_job_says_what_to_change(tmp_path):
    found = drive(tmp_path, "memory")
    assert found["train"]["code"] == 1
    lines = found["train"]["screen"].splitlines()
    assert len(lines) == 1
    assert "training.batch_size 1200: lower it" in lines[0]
    assert found["none"]["code"] == 1
    assert "curvature.samples" in found["none"]["screen"].splitlines()[-1]
    assert "Traceback" not in json.dumps([run["screen"] for run in found.values()])
