"""The recipes for other clusters: one training with all that follows it, against a local run."""

import re
import subprocess
import sys
import time

import pytest
import yaml
from checkout import Checkout

CONFIG = ("--configfile", "config/smoke.yaml")
TABLES = ("paper_figures/smoke/runs.csv", "paper_figures/smoke/data/reliability.csv")
LOGITS = "results/smoke/small_cnn/focal-2/seed0/logits.npz"


def checkout_of_one_run(folder):
    """A copy with one run, whose training asks for 1,500 MB at first, and keeps every epoch."""
    made = Checkout(folder)
    file = made.folder / "config/smoke.yaml"
    config = yaml.safe_load(file.read_text())
    config["models"]["small_cnn"]["resources"] = {"train": {"runtime": 5, "mem_mb": 1500}}
    config |= {"objectives": {"focal": {"gamma": [2]}}, "seeds": [0]}
    config |= dict.fromkeys(("geometry", "theory", "controls", "trajectory"))
    config["training"]["epochs"] = 150
    config["jobs"]["checkpoint_seconds"] = 0
    file.write_text(yaml.safe_dump(config))
    return made


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same on this machine alone."""
    made = checkout_of_one_run(tmp_path_factory.mktemp("local"))
    made.snakemake(*TABLES, "--cores", "2", *CONFIG)
    return made.folder


def test_a_scheduler_by_its_commands(local, tmp_path):
    checkout = checkout_of_one_run(tmp_path)
    log = tmp_path / "snakemake.log"
    command = [
        *(sys.executable, "-m", "snakemake", *TABLES, *CONFIG),
        *("--workflow-profile", "workflow/profiles/generic"),
        *("--seconds-between-status-checks", "2", "--set-resources", "train:gpu=1"),
    ]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=checkout.folder, stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            # The training is cut off in its midst, as by an operator.
            end = time.monotonic() + 120
            while not list(checkout.folder.rglob("checkpoint.pt")):
                assert time.monotonic() < end, log.read_text()[-5000:]
                time.sleep(0.2)
            first = re.findall(r"external jobid '(\d+)'", log.read_text())[-1]
            subprocess.run(["scancel", first], check=True)
            process.wait(timeout=400)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()[-5000:]
    text = subprocess.run(
        ["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    shown = {row["JobId"]: row for row in (fields(line) for line in text.splitlines())}
    jobs = re.findall(r"external jobid '(\d+)'", log.read_text())
    states = [shown[job]["JobState"] for job in jobs]
    # The data; the run, twice; tables; a figure.
    assert sorted(states) == ["CANCELLED"] + ["COMPLETED"] * 5
    assert shown[first]["JobState"] == "CANCELLED"
    trainings = [shown[job] for job in jobs if shown[job].get("TresPerNode") == "gres:gpu:1"]
    assert [row["MinMemoryNode"] for row in trainings] == ["1500M", "3000M"]
    assert (checkout.folder / LOGITS).read_bytes() == (local / LOGITS).read_bytes()
    record = (checkout.folder / LOGITS).with_name("run.json").read_text()
    assert '"resumed_from_epoch": 0' not in record


def fields(line):
    return dict(re.findall(r"(\w+)=(\S*)", line))


def test_without_a_shared_file_system(local, tmp_path):
    """Inputs and outputs by way of a storage, and nothing that is not declared."""
    bucket = tmp_path / "bucket"
    (tmp_path / "checkout").mkdir()
    checkout = checkout_of_one_run(tmp_path / "checkout")
    checkout.snakemake(
        *(*TABLES, "--cores", "2", *CONFIG),
        *("--default-storage-provider", "fs", "--default-storage-prefix", str(bucket)),
        *("--shared-fs-usage", "persistence", "software-deployment", "sources", "source-cache"),
    )
    assert (bucket / LOGITS).read_bytes() == (local / LOGITS).read_bytes()
    assert (bucket / TABLES[1]).read_bytes() == (local / TABLES[1]).read_bytes()
    assert not (checkout.folder / "results").exists()
