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
    # The record comes last: where it is, everything is.
    assert [set(OUTPUTS) <= set(case["found"]) for case in found] == [False] * 5 + [when == "after"]


def test_a_run_that_is_asked_to_stop_keeps_its_work_and_says_so(tmp_path):
    found = drive(tmp_path, "terminate", "5")
    assert found["codes"] == [75] * 5
    assert all("the same command goes on from there" in text for text in found["screens"])
    assert found["left"] == [["checkpoint.pt"]] * 5
    assert (found["last"], found["identical"]) == (0, True)
    assert found["resumed"] >= 5


def test_a_job_that_outlived_its_workflow_does_not_overwrite_its_successor(tmp_path):
    found = drive(tmp_path, "twins")
    assert found["codes"] == [0, 0]
    assert "waiting for another process" in found["screen"]
    assert found["fresh"]


def test_where_memory_is_short_training_says_what_to_change_and_curvature_takes_less(tmp_path):
    found = drive(tmp_path, "memory")
    assert found["train"]["code"] == 1
    lines = found["train"]["screen"].splitlines()
    assert len(lines) == 1
    assert "training.batch_size 1200: lower it" in lines[0]
    plenty, short = found["plenty"], found["short"]
    assert (plenty["code"], short["code"]) == (0, 0)
    assert "out of memory" not in plenty["screen"]
    assert "curvature.chunk is now 300" in short["screen"]
    assert plenty["record"]["settings"].get("chunk") in (None, 1024)
    assert 1 <= short["record"]["settings"]["chunk"] <= 300
    for number in ("top_eigenvalue", "trace"):
        one, two = (run["record"][number]["estimate"] for run in (plenty, short))
        assert two == pytest.approx(one, rel=1e-5)
    assert found["none"]["code"] == 1
    assert "curvature.samples" in found["none"]["screen"].splitlines()[-1]
    assert "Traceback" not in json.dumps([run["screen"] for run in found.values()])
