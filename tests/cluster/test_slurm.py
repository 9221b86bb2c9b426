"""The smoke experiment on a real Slurm of two nodes: run by `make test-cluster`, inside slurm.sh.

One run of the workflow meets everything at once. Its trainings are three submissions of two runs
each, frozen in their midst: one is cancelled, one is ended by Slurm at its time limit, and the node
of the third is killed, with all that runs on it, and drained. What Slurm says is read from its own
records. Not shown: a shared file system between machines, as both nodes have the same disk.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import Checkout

# A part of the stages, tables and figures: in the whole, one after the other, they take minutes.
TARGETS = [
    f"paper_figures/smoke/{file}"
    for file in ("runs.csv", "claims.json", "ece.png", "posterior.png", "tables/controls.csv")
]
CONFIG = ("--configfile", "config/smoke.yaml")
SLURM = (
    *(*TARGETS, "--workflow-profile", "workflow/profiles/slurm", *CONFIG),
    *("--group-components", "runs=2", "cells=4", "paper=100"),
    # The configuration says device: cpu, so that a GPU is only asked for, not used.
    # Stages ask for a minute or two, which on a busy machine is not enough.
    *("--set-resources", "train:gpu=1", "theory:runtime=20", "controls:runtime=20"),
    # Jobs take seconds here, and the plugin waits ten more after each look that finds none ended.
    *("--slurm-init-seconds-before-status-checks", "2"),
)

EPOCHS = 150


def queue():
    """Return job id -> (state, comment of the submission) from squeue."""
    text = subprocess.run(
        ["squeue", "--noheader", "--format", "%i|%T|%k"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split("|", 2) for line in text.splitlines()]
    return {int(number): (state, comment) for number, state, comment in rows}


def ends():
    """Return job id -> (state, node) of each of its ends, from Slurm's job completion log."""
    found = {}
    for row in fields(Path(os.environ["SLURM_COMPLETED"]).read_text()):
        found.setdefault(int(row["JobId"]), []).append((row["JobState"], row["NodeList"]))
    return found


def shown():
    """Return job id -> fields of the controller's record, which is where gres are."""
    command = ["scontrol", "--oneliner", "show", "job"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {int(row["JobId"]): row for row in fields(text)}


def fields(text):
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]


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
    """Freeze every run that has a checkpoint; return the submissions once each has one frozen.

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
    return running if len(frozen) == 3 else None


def update(what, **values):
    """Change a job or a node, as an administrator does."""
    subprocess.run(
        ["scontrol", "update", what, *(f"{k}={v}" for k, v in values.items())], check=True
    )


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory):
    """Two copies whose trainings ask for five minutes each at first, and keep every epoch."""
    made = [Checkout(tmp_path_factory.mktemp(name)) for name in ("cluster", "local")]
    for checkout in made:
        file = checkout.folder / "config/smoke.yaml"
        config = yaml.safe_load(file.read_text()) | {"seeds": [0, 1, 2]}
        config |= dict.fromkeys(("geometry", "trajectory", "shift"))
        config["models"]["small_cnn"]["resources"] = {"train": {"runtime": 5, "mem_mb": 1500}}
        config["training"]["epochs"] = EPOCHS
        config["jobs"]["checkpoint_seconds"] = 0
        file.write_text(yaml.safe_dump(config))
    return made


@dataclass
class Course:
    """Jobs by what befell them, with Slurm's record of them before that; the lost node; the log."""

    cancelled: int
    late: int
    orphaned: int
    before: dict
    node: str
    log: str


@pytest.fixture(scope="module")
def course(checkouts):
    cluster, local = checkouts
    log = cluster.folder / "snakemake.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *SLURM],
            cwd=cluster.folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            results = cluster.folder.resolve() / "results/smoke"
            running = wait_for(lambda: frozen_in_training(results), 120)
            before = shown()
            nodes = {job: before[job]["NodeList"] for job in running}
            # Three submissions on two nodes: one has a node for itself.
            alone = Counter(nodes.values()).most_common()[-1][0]
            cancelled, late, orphaned = sorted(running, key=lambda job: nodes[job] == alone)
            os.kill(
                int(Path(os.environ["SLURM_NODES"], f"{alone}.pid").read_text()), signal.SIGKILL
            )
            update(f"NodeName={alone}", State="DRAIN", Reason="killed")
            # Its limit, which is minutes away, becomes now; it is Slurm's to notice.
            update(f"JobId={late}", EndTime="now")
            for pid in processes(cancelled):
                os.kill(pid, signal.SIGCONT)
            subprocess.run(["scancel", str(cancelled)], check=True)
            local.snakemake(*TARGETS, "--cores", "2", *CONFIG)
            process.wait(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()[-5000:]
    return Course(cancelled, late, orphaned, before, alone, log.read_text())


def submitted(log):
    return {int(n) for n in re.findall(r"SLURM jobid '?(\d+)", log)}


def test_the_cancelled_and_the_late_submission_ended_as_such(course):
    assert [state for state, _ in ends()[course.cancelled]] == ["CANCELLED"]
    assert [state for state, _ in ends()[course.late]] == ["TIMEOUT"]


def test_what_ran_on_the_killed_node_ran_again_on_the_other(course):
    (first, node), (second, other) = ends()[course.orphaned]
    assert (first, second) == ("NODE_FAIL", "COMPLETED")
    assert node == course.node != other
    assert shown()[course.orphaned]["Restarts"] == "1"


def test_nothing_was_given_to_the_drained_node(course):
    later = submitted(course.log) - set(course.before)
    assert later
    assert course.node not in {node for job in later for _, node in ends()[job]}


def test_every_job_was_a_slurm_job_and_the_others_completed(course):
    jobs = submitted(course.log)
    assert jobs <= set(ends())
    states = [ends()[number][-1][0] for number in jobs - {course.cancelled, course.late}]
    # One training requeued, two submitted again; data; curvature and calibration of both cells in
    # one; controls and theory; tables; all tables and figures.
    assert states == ["COMPLETED"] * (1 + 2 + 1 + 1 + 2 + 1 + 1)
    assert queue() == {}


def test_what_was_asked_for_is_what_slurm_gave(course):
    rows, lost = shown(), {course.cancelled, course.late}
    trainings = {n for n in submitted(course.log) if rows[n].get("TresPerJob") == "gres:gpu:1"}
    assert len(trainings) == 5
    for number in lost | {course.orphaned}:
        assert asked(course.before[number]) == ("00:10:00", "1", "1500M")
    for number in trainings - lost - {course.orphaned}:
        assert asked(rows[number]) == ("00:20:00", "1", "3000M")


def asked(row):
    return row["TimeLimit"], row["NumCPUs"], row["MinMemoryNode"]


def test_results_are_those_of_a_local_run_to_the_bit(course, checkouts):
    cluster, local = (checkout.folder / "results/smoke" for checkout in checkouts)
    files = [
        file.relative_to(local)
        for name in ("model.pt", "logits.npz", "history.csv", "calibration.json")
        for file in sorted(local.rglob(name))
    ]
    assert len(files) == 24
    assert [f for f in files if (cluster / f).read_bytes() != (local / f).read_bytes()] == []
    tables = [pd.read_csv(c.folder / "paper_figures/smoke/runs.csv") for c in checkouts]
    there, here = (table.drop(columns=list(table.filter(like="_seconds"))) for table in tables)
    assert here.filter(like="trace_").notna().any(axis=None)
    pd.testing.assert_frame_equal(there, here, check_exact=True)


def test_what_was_cut_off_went_on_from_its_checkpoint(course, checkouts):
    cluster, local = (
        [json.loads(file.read_text())["resumed_from_epoch"] for file in folder.rglob("run.json")]
        for folder in (checkout.folder / "results/smoke" for checkout in checkouts)
    )
    assert local == [0] * 6
    assert sorted(cluster)[:3] == [0] * 3  # not begun when their submission ended
    assert len(cluster) == 6
    assert all(0 < epoch < EPOCHS for epoch in sorted(cluster)[3:])


def test_nothing_is_left_to_do(course, checkouts):
    assert checkouts[0].planned(*TARGETS, *CONFIG) == {}
