"""Faults of real workflows: killed, out of disk, forbidden, corrupted, not finite."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = {
    "experiment": "digits",
    "device": "cpu",
    "data": {"name": "digits", "train": 100, "validation": 100, "test": 200},
    "models": {"small_cnn": {"arguments": {"width": 4}}},
    "objectives": {"focal": {"gamma": [0, 2]}},
    "seeds": [0],
    "training": {"epochs": 150, "batch_size": 32, "learning_rate": 0.05, "evaluate_every": 50},
    "curvature": {"samples": 50, "probes": 3, "max_iterations": 5},
    "jobs": {"calibration": "run", "checkpoint_seconds": 0},
}
TABLE = "paper_figures/digits/runs.csv"
RUNS = ("ce/seed0", "focal-2/seed0")
BITS = ("model.pt", "logits.npz", "history.csv", "reliability.csv")


class Workflow:
    """A finished small experiment, its results kept for comparison."""

    def __init__(self, checkout):
        self.checkout, self.folder = checkout, checkout.folder
        shutil.copy2(ROOT / "Makefile", self.folder)
        self.configure()
        checkout.snakemake("--cores", "2", TABLE)
        self.expected = self.results()

    def configure(self, **training):
        config = CONFIG | {"training": CONFIG["training"] | training}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def run(self, name, file=""):
        return self.folder / "results/digits/small_cnn" / name / file

    def results(self):
        """Everything but times and memory."""
        table = pd.read_csv(self.folder / TABLE)
        table = table[[column for column in table if not column.endswith("_seconds")]]
        return table.to_csv(), [self.run(r, f).read_bytes() for r in RUNS for f in BITS]

    def interrupt(self, signum, when):
        """Start Snakemake, send a signal to it and all its jobs at some moment; return its end."""
        with (self.folder / "screen").open("w") as screen:
            process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--cores", "2", TABLE],
                cwd=self.folder,
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )
        limit = time.monotonic() + 90
        while not when():
            assert process.poll() is None, (self.folder / "screen").read_text()[-3000:]
            assert time.monotonic() < limit
            time.sleep(0.002)
        os.killpg(process.pid, signum)
        return process.wait(90)

    def resume(self):
        """The documented command."""
        venv = Path(sys.prefix)
        command = ["make", "-o", "install", "resume", f"VENV={venv}", "CORES=2"]
        done = subprocess.run(
            [*command, f"ARGS={TABLE}"],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout


@pytest.fixture(scope="session")
def workflow(checkout_factory):
    return Workflow(checkout_factory())


def errors(text):
    """Lines that our jobs logged as errors, each once."""
    return sorted({line.partition(" ERROR ")[2] for line in text.splitlines() if " ERROR " in line})


def test_half_written_results_of_other_settings_do_not_pass(workflow):
    """Settings change, everything is killed between two outputs, the settings change back."""
    models = [workflow.run(name, "model.pt") for name in RUNS]
    before = [model.read_bytes() for model in models]
    workflow.configure(learning_rate=0.06)

    def written():
        for model, old in zip(models, before, strict=True):
            try:
                if model.read_bytes() != old:
                    return True
            except FileNotFoundError:
                pass
        return False

    assert workflow.interrupt(signal.SIGKILL, written) == -signal.SIGKILL
    workflow.configure()
    locked = workflow.checkout.snakemake("--cores", "2", TABLE, check=False)
    assert locked.returncode != 0
    assert "--unlock" in locked.stdout
    workflow.resume()
    assert workflow.results() == workflow.expected


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_training_goes_on_from_its_checkpoint_when_everything_was_killed(workflow, signum):
    run = workflow.run("focal-2/seed0")
    (run / "model.pt").unlink()
    workflow.run("focal-2/seed0/curvature", "objective.json").unlink()
    (workflow.folder / TABLE).unlink()
    code = workflow.interrupt(signum, (run / "checkpoint.pt").exists)
    assert code != 0
    assert (run / "checkpoint.pt").exists()
    if signum == signal.SIGKILL:
        workflow.resume()
    else:  # Snakemake ends in order and leaves no lock
        assert "the same command goes on" in (workflow.folder / "screen").read_text()
        workflow.checkout.snakemake("--cores", "2", TABLE)
    assert json.loads((run / "run.json").read_text())["resumed_from_epoch"] > 0
    assert not (run / "checkpoint.pt").exists()
    assert workflow.results() == workflow.expected


def spoil(file, change):
    """Change a file behind Snakemake's back."""
    times = file.stat()
    file.write_bytes(change(file.read_bytes()))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def forget(workflow, *files):
    for name in RUNS:
        for file in files:
            workflow.run(name, file).unlink(missing_ok=True)
    (workflow.folder / TABLE).unlink(missing_ok=True)


def test_corrupt_weights_and_logits_fail_their_own_jobs_only(workflow):
    forget(workflow, "curvature/objective.json", "calibration.json")
    weights = workflow.run("ce/seed0", "model.pt")
    logits = workflow.run("focal-2/seed0", "logits.npz")
    spoil(weights, flip)
    spoil(logits, flip)
    done = workflow.checkout.snakemake("--cores", "2", "--keep-going", TABLE, check=False)
    assert done.returncode != 0
    lines = errors(done.stdout)
    assert len(lines) == 2, lines
    for line, rule, file in zip(
        lines, ("calibration", "curvature"), ("logits.npz", "model.pt"), strict=True
    ):
        assert line.startswith(f"{rule}: results/digits/small_cnn/")
        assert f"{file}: sha256 is" in line
        assert line.endswith("delete it and run again")
    assert workflow.run("ce/seed0", "calibration.json").exists()
    assert workflow.run("focal-2/seed0", "curvature/objective.json").exists()
    weights.unlink()
    logits.unlink()
    workflow.checkout.snakemake("--cores", "2", TABLE)
    assert workflow.results() == workflow.expected


def test_records_cut_short_are_named(workflow):
    record = workflow.run("ce/seed0", "curvature/objective.json")
    reliability = workflow.run("focal-2/seed0", "reliability.csv")
    content = record.read_bytes(), reliability.read_bytes()
    for file, words in ((reliability, "sha256 is"), (record, "cannot be read")):
        spoil(file, lambda old: old[: old.rindex(b"\n", 0, len(old) - 9) + 1])
        (workflow.folder / TABLE).unlink(missing_ok=True)
        done = workflow.checkout.snakemake("--cores", "2", TABLE, check=False)
        assert done.returncode != 0
        (line,) = errors(done.stdout)
        assert f"{file.name}: {words}" in line
        assert line.endswith("delete it and run again")
        spoil(file, lambda _, old=content[file is reliability]: old)
    workflow.checkout.snakemake("--cores", "2", TABLE)
    assert workflow.results() == workflow.expected


def test_a_table_of_runs_cut_at_a_line_is_refused(workflow):
    table, summary = workflow.folder / TABLE, "paper_figures/digits/tables/summary.csv"
    spoil(table, lambda old: old[: old.rindex(b"\n", 0, -1) + 1])
    assert len(pd.read_csv(table)) == 1
    done = workflow.checkout.snakemake("--cores", "2", summary, check=False)
    (line,) = errors(done.stdout)
    assert line.startswith("tables_summary: paper_figures/digits/runs.csv: sha256 is")
    table.unlink()
    workflow.checkout.snakemake("--cores", "2", summary)
    assert workflow.results() == workflow.expected


FULL = """
set -u
run=results/digits/small_cnn/focal-2
mount -t tmpfs -o size=16k tmpfs $run || exit 99
"$0" -m snakemake --cores 2 --keep-going paper_figures/digits/runs.csv
echo "first: $?"; ls -A $run/seed0
mount -o remount,size=64m $run
"$0" -m snakemake --cores 2 paper_figures/digits/runs.csv
echo "second: $?"
cp -r $run/seed0 saved
"""


def test_a_full_disk_fails_one_run_and_the_same_command_goes_on(workflow):
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "-r"]
    if subprocess.run([*private, "true"], capture_output=True).returncode:
        pytest.skip("this machine grants no private mounts")
    forget(workflow, "model.pt", "curvature/objective.json")
    done = subprocess.run(
        [*private, "bash", "-c", FULL, sys.executable],
        cwd=workflow.folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    first, _, second = done.stdout.partition("first: 1\n")
    assert "second: 0" in second, done.stdout[-5000:]
    (line,) = errors(first)
    assert line.startswith("train: [Errno 28] No space left on device: 'results/")
    assert "Traceback" not in first
    assert ".part" not in second.partition("\n[")[0]
    assert workflow.run("ce/seed0", "run.json").exists()
    saved = workflow.folder / "saved"
    expected = dict(zip(BITS, workflow.expected[1][len(BITS) :], strict=True))
    assert {name: (saved / name).read_bytes() for name in BITS} == expected
    shutil.copytree(saved, workflow.run("focal-2/seed0"), dirs_exist_ok=True)


FORBIDDEN = {
    "unreadable": ("results/datasets/digits/images.npy", 0o000, "images.npy"),
    "read-only folder": ("results/digits/small_cnn/focal-2/seed0", 0o555, "focal-2/seed0"),
}


@pytest.mark.parametrize(("path", "mode", "words"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_may_not_be_read_or_written_is_named(workflow, tmp_path_factory, path, mode, words):
    """As a person without privileges: for root, permissions do not hold."""
    person = []
    environment = os.environ | {"HOME": str(workflow.folder), "XDG_CACHE_HOME": "", "TMPDIR": ""}
    if os.geteuid() == 0:
        person = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        if not shutil.which(person[0]):
            pytest.skip("setpriv is missing: permissions do not hold for root")
        # The folders above belong to root alone.
        copy = Path("/var/tmp") / f"forbidden-{os.getpid()}"
    else:
        copy = tmp_path_factory.mktemp("forbidden") / "copy"
    shutil.copytree(workflow.folder, copy, symlinks=True)
    try:
        environment |= {"HOME": str(copy), "XDG_CACHE_HOME": str(copy / "cache")}
        for file in ("model.pt", "curvature/objective.json"):
            (copy / "results/digits/small_cnn/focal-2/seed0" / file).unlink()
        (copy / TABLE).unlink()
        if person:
            subprocess.run(["chown", "-R", "65534:65534", copy], check=True)
        (copy / path).chmod(mode)
        done = subprocess.run(
            [*person, sys.executable, "-m", "snakemake", "--cores", "2", "--keep-going", TABLE],
            cwd=copy,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=200,
        )
        assert done.returncode != 0
        assert any(
            "ermission denied" in line and words in line for line in done.stdout.splitlines()
        )
        assert (copy / "results/digits/small_cnn/ce/seed0/run.json").exists()
    finally:
        (copy / path).chmod(0o755)
        shutil.rmtree(copy)


SPIKY = """
import torch
from torch import nn
from torch.nn import functional as F


class Spiky(nn.Module):
    '''Its gradient is cross-entropy's; its second derivative is not finite.'''

    def forward(self, logits, labels):
        zero = (logits - logits.detach()).abs().pow(1.5).sum(1)
        return F.cross_entropy(logits, labels, reduction="none") + zero
"""


def test_what_is_not_finite_is_a_row_with_its_reason_and_the_grid_goes_on(checkout_factory):
    checkout = checkout_factory()
    (checkout.folder / "spiky.py").write_text(SPIKY)
    config = CONFIG | {
        "experiment": "spiky",
        "models": CONFIG["models"]
        | {"wild": {"factory": "focal_curvature.models.small_cnn:small_cnn"}},
        "objectives": {"focal": {"gamma": [0, 2]}, "spiky": {"factory": "spiky:Spiky"}},
        "training": CONFIG["training"] | {"epochs": 5, "evaluate_every": 1},
        "geometry": {"seeds": [0], "steps": 4, "resolution": 3},
        "theory": {"seed": 0, "gammas": [2], "points": 5, "steps": 5},
        "controls": {"objectives": ["ce", "focal-2"], "seeds": [0], "factors": [4]},
        "trajectory": {
            "objectives": ["ce", "spiky"],
            "seeds": [0],
            "epochs": [1, 2, 3],
            "samples": 20,
        },
        "jobs": {"curvature": "model", "calibration": "model"},
    }
    config["models"]["wild"]["training"] = {"learning_rate": 1e9}
    (checkout.folder / "config.yaml").write_text(yaml.safe_dump(config))
    paper = checkout.folder / "paper_figures/spiky"
    figures = ("spectrum", "plane", "interventions", "trajectory", "bound")
    wanted = ["trace.pdf", *(f"data/{figure}.csv" for figure in figures)]
    tables = ("summary", "estimators", "trajectory", "controls")
    wanted += [f"tables/{table}.md" for table in tables]
    done = checkout.snakemake("--cores", "2", *(f"paper_figures/spiky/{file}" for file in wanted))
    assert "non-finite" in done.stdout
    assert "ends with other weights" not in done.stdout
    runs = pd.read_csv(checkout.folder / "paper_figures/spiky/runs.csv").set_index("run")
    assert len(runs) == 6
    for name in ("wild/ce/seed0", "wild/focal-2/seed0", "wild/spiky/seed0"):
        assert runs.loc[name, "status"] == "diverged"
        assert "epoch 1" in runs.loc[name, "reason"]
        assert np.isnan(runs.loc[name, "accuracy"])
    fine, spiky = runs.loc["small_cnn/ce/seed0"], runs.loc["small_cnn/spiky/seed0"]
    assert fine["status"] == spiky["status"] == "completed"
    assert fine.isna()["curvature_objective_reason"]
    assert np.isnan(spiky["trace_objective"])
    assert "finite" in spiky["curvature_objective_reason"]
    # Its weights are cross-entropy's, and so is the Hessian of cross-entropy at them.
    assert spiky["trace_cross_entropy"] == pytest.approx(fine["trace_cross_entropy"])
    assert "small_cnn" in (paper / "tables/summary.md").read_text()
    # All runs of a model diverged: its closer looks are tables without rows.
    results = checkout.folder / "results/spiky"
    stages = [results / stage / "wild" for stage in ("controls", "trajectory", "geometry")]
    looks = [file for stage in stages for file in stage.glob("*.csv")]
    assert len(looks) == 6
    assert all(pd.read_csv(file).empty for file in looks)
    for figure in figures:
        assert set(pd.read_csv(paper / f"data/{figure}.csv")["model"]) == {"small_cnn"}
    along = pd.read_csv(paper / "data/trajectory.csv").set_index("objective").loc["spiky"]
    assert along["trace_objective"].isna().all()
    assert along["trace_cross_entropy"].notna().all()
