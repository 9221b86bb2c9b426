"""How long Snakemake takes to plan 1,000 and 10,000 runs: single jobs, cells of 5 seeds, coarser.

python benchmarks/planning.py [RUNS...] [--only CASE...] [--budget SECONDS] writes
results/planning.{json,md}; --only adds or replaces those cases there. The same number of jobs in a
Snakefile with nothing but inputs and outputs is what our rules stand on. What would end after the
budget is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from curves import curves, exponents, table
from machine import machine, stated

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
GRID = """\
experiment: planning
device: cpu
data: {{name: digits, train: 400, validation: 200}}
models: {{small_cnn: {{}}, small_resnet: {{}}}}
objectives: {{focal: {{gamma: {gammas}}}}}
seeds: [0, 1, 2, 3, 4]
training: {{epochs: 60, batch_size: 32, learning_rate: 0.05}}
jobs: {{train: {train}, curvature: {curvature}, calibration: {calibration}}}
"""
BARE = """\
RUNS = range({runs})
rule all:
    input: expand("c/{{i}}", i=RUNS), expand("d/{{i}}", i=RUNS)
rule train:
    output: "b/{{i}}"
    shell: "touch {{output}}"
rule curvature:
    input: "b/{{i}}"
    output: "c/{{i}}"
    shell: "touch {{output}}"
rule calibration:
    input: "b/{{i}}"
    output: "d/{{i}}"
    shell: "touch {{output}}"
"""
# What the jobs of training, curvature and calibration serve.
JOBS = {
    "a job per run": ("run", "run", "run"),
    "a job per run, calibration per cell": ("run", "run", "cell"),
    "a job per cell": ("cell", "cell", "cell"),
    "a job per cell, curvature and calibration per model": ("cell", "model", "model"),
}
SLURM = ["--workflow-profile", str(ROOT / "workflow/profiles/slurm")]
OPTIONS = {"": [], ", Slurm profile": SLURM}
BARE_CASE = "bare Snakefile, a job per run"


def plan(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run one dry run and return its size, time and memory."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "2", *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{name}: {text[-2000:]}")
    groups = len(re.findall(r"^\[.*Group job ", text, re.MULTILINE))
    total = re.search(r"^total +(\d+)", text, re.MULTILINE)
    return {
        "jobs": int(total[1]) if total else "",
        "group_submissions": groups if "--workflow-profile" in arguments else "",
        "wall_seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": round(usage.ru_maxrss / 1024),
        "load_of_machine": round(os.getloadavg()[0], 1),
    }


def cases() -> dict[str, Callable[[int], dict[str, Any]]]:
    """Return what measures each case for a number of runs."""

    def ours(name: str, jobs: Sequence[str], option: list[str], runs: int) -> dict[str, Any]:
        train, curvature, calibration = jobs
        gammas = [number / 1000 for number in range(runs // 10)]
        grid = GRID.format(gammas=gammas, train=train, curvature=curvature, calibration=calibration)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "grid.yaml")
            file.write_text(grid, encoding="utf-8")
            return plan(name, ROOT, "--directory", scratch, "--configfile", str(file), *option)

    def bare(name: str, runs: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, "Snakefile").write_text(BARE.format(runs=runs), encoding="utf-8")
            return plan(name, Path(scratch))

    found = {
        f"{name}{text}": partial(ours, name, jobs, option)
        for name, jobs in JOBS.items()
        for text, option in OPTIONS.items()
    }
    return found | {BARE_CASE: partial(bare, BARE_CASE)}


def write(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write what was measured so far."""
    found = exponents(rows, ["cpu_seconds", "peak_megabytes"])
    (RESULTS / "planning.json").write_text(
        json.dumps({"machine": about, "cases": rows, "exponents": found}, indent=2) + "\n",
        encoding="utf-8",
    )
    text = (
        f"# Planning a grid (dry run)\n\n{stated(about)}; one measurement each. The size is the "
        f"number of runs. The load counts processes of others too.\n\n{table(rows)}"
    )
    if found:
        powers = [{"case": case, **each} for case, each in found.items()]
        text += f"\nExponents of the size, fitted over the last decade:\n\n{table(powers)}"
    (RESULTS / "planning.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Measure every case for each number of runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", type=int, default=[1000, 10000])
    parser.add_argument("--only", nargs="*", default=list(cases()), help="names of cases")
    parser.add_argument("--budget", type=float, default=300, help="seconds for all")
    arguments = parser.parse_args()
    file, about, rows = RESULTS / "planning.json", machine(), {}
    if arguments.only != list(cases()):
        record = json.loads(file.read_text(encoding="utf-8"))
        rows = {(row["size"], row["case"]): row for row in record["cases"]}
    chosen = {name: cases()[name] for name in arguments.only}
    for row in curves(arguments.runs, chosen, arguments.budget):
        rows[row["size"], row["case"]] = row
        write(about, [rows[key] for key in sorted(rows, key=lambda key: key[0])])


if __name__ == "__main__":
    main()
