"""The smoke experiment on a real one-node Slurm: run by `make test-cluster`, inside slurm.sh.

One run of the workflow meets everything at once. Its trainings are two submissions of two runs
each: in the midst of them one submission is cancelled, the other is frozen until Slurm ends it at
its time limit. What Slurm says is read from its own records.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import Checkout

CONFIG = ("--configfile", "config/smoke.yaml")
SLURM = (
    *("--workflow-profile", "workflow/profiles/slurm", *CONFIG),
    *("--group-components", "runs=2", "cells=4", "paper=100"),
    # The configuration says device: cpu, so that a GPU is only asked for, not used.
    *("--set-resources", "train:gpu=1"),
)

EPOCHS = 150


def queue():
    """Return job id -> (state, comment of the submission) from squeue."""
    text = subprocess.run(
        ["squeue", "--noheader", "--format", "%i|%T|%k"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split("|", 2) for line in text.splitlines()]
    return {int(number): (state, comment) for number, state, comment in rows}


def completed():
    """Return job id -> fields of Slurm's job completion log."""
    return fields(Path(os.environ["SLURM_COMPLETED"]).read_text())


def shown():
    """Return job id -> fields of the controller's record, which is where gres are."""
    command = ["scontrol", "--oneliner", "show", "job"]
    return fields(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def fields(text):
    rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    return {int(row["JobId"]): row for row in rows}


def processes(job):
    """Return the pids that belong to a Slurm job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"SLURM_JOB_ID={job}".encode() in environment:
            found.append(int(folder.name))
    return found


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"nothing after {seconds} s; the queue is {queue()}"
        time.sleep(0.3)
    return found


def writes(pid, file):
    """Return whether a process has a file open."""
    try:
        return any(link.readlink() == file for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def frozen_in_training(results):
    """Freeze every run that has a checkpoint; return the two submissions once each has one frozen.

    Their other runs have not begun: Slurm's plugin works on one job of a submission at a time.
    """
    running = [n for n, (state, what) in queue().items() if state == "RUNNING" and "runs" in what]
    pids = [pid for job in running for pid in processes(job)]
    frozen = set()
    for file in results.rglob("checkpoint.pt"):
        log = results / f"logs/train/{file.parent.relative_to(results)}.log"
        for pid in (pid for pid in pids if writes(pid, log)):
            os.kill(pid, signal.SIGSTOP)
            frozen.add(pid)
    return running if len(frozen) == 2 else None


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory):
    """Two copies whose trainings ask for one minute each at first, and keep every epoch."""
    made = [Checkout(tmp_path_factory.mktemp(name)) for name in ("cluster", "local")]
    for checkout in made:
        file = checkout.folder / "config/smoke.yaml"
        config = yaml.safe_load(file.read_text())
        config["models"]["small_cnn"]["resources"] = {"train": {"runtime": 1, "mem_mb": 1500}}
        config["training"]["epochs"] = EPOCHS
        config["jobs"]["checkpoint_seconds"] = 0
        file.write_text(yaml.safe_dump(config))
    return made


@pytest.fixture(scope="module")
def finished(checkouts):
    cluster, local = checkouts
    log = cluster.folder / "snakemake.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *SLURM],
            cwd=cluster.folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        results = cluster.folder.resolve() / "results/smoke"
        cancelled, frozen = wait_for(lambda: frozen_in_training(results), 120)
        for pid in processes(cancelled):
            os.kill(pid, signal.SIGCONT)
        subprocess.run(["scancel", str(cancelled)], check=True)
        for pid in processes(frozen):
            os.kill(pid, signal.SIGSTOP)
        local.snakemake("--cores", "2", *CONFIG)
        try:
            process.wait(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()[-5000:]
    return cancelled, frozen, log.read_text()


def submitted(log):
    return {int(n) for n in re.findall(r"SLURM jobid '?(\d+)", log)}


def test_the_cancelled_and_the_frozen_submission_ended_as_such(finished):
    cancelled, frozen, _ = finished
    assert completed()[cancelled]["JobState"] == "CANCELLED"
    assert completed()[frozen]["JobState"] == "TIMEOUT"


def test_every_job_was_a_slurm_job_and_the_others_completed(finished):
    *lost, log = finished
    jobs = submitted(log)
    assert jobs <= set(completed())
    states = [completed()[number]["JobState"] for number in jobs - set(lost)]
    # Two trainings again; data; curvature and calibration of both cells in one; the closer look,
    # the trajectory, controls, theory and posterior; tables and cost; all tables and figures.
    assert states == ["COMPLETED"] * (2 + 1 + 1 + 5 + 2 + 1)
    assert queue() == {}


def test_what_was_asked_for_is_what_slurm_gave(finished):
    *lost, log = finished
    rows = shown()
    trainings = [n for n in submitted(log) if rows[n].get("TresPerJob") == "gres:gpu:1"]
    again = sorted(set(trainings) - set(lost))
    assert len(trainings) == 4
    for number in lost:
        assert asked(rows[number]) == ("00:02:00", "1", "1500M")
    for number in again:
        assert asked(rows[number]) == ("00:04:00", "1", "3000M")


def asked(row):
    return row["TimeLimit"], row["NumCPUs"], row["MinMemoryNode"]


def test_results_are_those_of_a_local_run_to_the_bit(finished, checkouts):
    cluster, local = (checkout.folder / "results/smoke" for checkout in checkouts)
    files = [
        file.relative_to(local)
        for name in ("model.pt", "logits.npz", "history.csv", "calibration.json")
        for file in sorted(local.rglob(name))
    ]
    assert len(files) == 16
    assert [f for f in files if (cluster / f).read_bytes() != (local / f).read_bytes()] == []
    tables = [pd.read_csv(c.folder / "paper_figures/smoke/runs.csv") for c in checkouts]
    there, here = (table.drop(columns=list(table.filter(like="_seconds"))) for table in tables)
    assert here.filter(like="trace_").notna().any(axis=None)
    pd.testing.assert_frame_equal(there, here, check_exact=True)


def test_what_was_cut_off_went_on_from_its_checkpoint(finished, checkouts):
    cluster, local = (
        [json.loads(file.read_text())["resumed_from_epoch"] for file in folder.rglob("run.json")]
        for folder in (checkout.folder / "results/smoke" for checkout in checkouts)
    )
    assert local == [0] * 4
    assert sorted(cluster)[:2] == [0, 0]  # not begun when their submission ended
    assert len(cluster) == 4
    assert all(0 < epoch < EPOCHS for epoch in sorted(cluster)[2:])


def test_nothing_is_left_to_do(finished, checkouts):
    assert checkouts[0].planned(*CONFIG) == {}
