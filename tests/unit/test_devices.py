"""Devices are handed out to real processes, by the real locks; only their names are made up."""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from focal_curvature import devices

ROOT = Path(__file__).parents[2]
# Claims a device, notes from when to when it had it, and holds it for a while.
WORKER = """
import sys, time
from pathlib import Path
from focal_curvature.devices import claim, visible
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
device = claim(visible(), folder / "locks", poll=0.02)
print(device, time.monotonic(), flush=True)
time.sleep(seconds)
print(time.monotonic(), flush=True)
"""

# Says what a script's main sees, and goes on when told to.
JOB = """
import os, sys
from types import SimpleNamespace
import job
def main(snakemake):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
gpu, log = sys.argv[1:]
job.run(main, SimpleNamespace(resources={"gpu": int(gpu)}, log=[log], rule="train"))
"""


def start(folder, seconds, names):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": names},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_jobs_get_a_device_each_only_where_they_ask_for_one(tmp_path):
    environment = {"PYTHONPATH": str(ROOT / "workflow/scripts"), "TMPDIR": str(tmp_path)}

    def begin(number, gpu):
        return subprocess.Popen(
            [sys.executable, "-c", JOB, str(gpu), str(tmp_path / f"{number}.log")],
            env={**os.environ, **environment, "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    first, second, plain = begin(1, 1), begin(2, 1), begin(3, 0)
    seen = [job.stdout.readline().strip() for job in (first, second, plain)]
    assert sorted(seen[:2]) == ["GPU-a", "GPU-b"]
    assert seen[2] == "GPU-a,GPU-b"
    third = begin(4, 1)
    first.communicate("go on\n", timeout=60)
    assert third.communicate("go on\n", timeout=60)[0].strip() == seen[0]
    for job in (second, plain):
        job.communicate("go on\n", timeout=60)
    assert [job.returncode for job in (first, second, plain, third)] == [0] * 4


def test_seven_jobs_on_three_devices_never_share_one(tmp_path):
    workers = [start(tmp_path, 0.3, "4,GPU-a,MIG-b/1") for _ in range(7)]
    spans = {}
    for worker in workers:
        device, begin, end = worker.communicate(timeout=60)[0].split()
        spans.setdefault(device, []).append((float(begin), float(end)))
    assert set(spans) == {"4", "GPU-a", "MIG-b/1"}
    assert sum(map(len, spans.values())) == 7
    for held in spans.values():
        held.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(held))


def test_a_killed_job_gives_its_device_back(tmp_path):
    killed = start(tmp_path, 60, "0")
    assert killed.stdout.readline().startswith("0 ")
    waits = start(tmp_path, 0, "0")
    time.sleep(1)
    assert waits.poll() is None
    killed.kill()
    killed.wait()
    assert waits.communicate(timeout=20)[0].startswith("0 ")
    killed.stdout.close()


@pytest.mark.parametrize(
    ("value", "found"),
    [("", []), ("-1", []), ("2", ["2"]), ("1, 0", ["1", "0"]), ("3,-1,4", ["3"])],
)
def test_cuda_visible_devices_is_respected(monkeypatch, value, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert devices.visible() == found


def test_unset_means_every_device_that_the_driver_lists(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.visible() == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: x (UUID: GPU-1)'\necho 'GPU 1: x (UUID: GPU-2)'\n")
    smi.chmod(0o755)
    assert devices.visible() == ["0", "1"]


def test_jobs_of_different_allocations_have_different_locks(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for allocation in ("", "17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", allocation)
        assert devices.claim(["0"]) == "0"
