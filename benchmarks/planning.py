"""How long Snakemake takes to plan 1,000 and 10,000 runs: single jobs, cells of 5 seeds, or mixed.

python benchmarks/planning.py [RUNS...] [--only CASE...] writes results/planning.{json,md};
--only replaces those cases there. The same number of jobs in a Snakefile with nothing but inputs
and outputs is what our rules stand on. A dry run lists every job; with --quiet it only plans.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

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
jobs: {{train: {train}, curvature: {train}, calibration: {calibration}}}
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


def plan(name: str, folder: Path, *arguments: str) -> dict[str, str | float]:
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
        "case": name,
        "jobs": int(total[1]) if total else "",
        "group_submissions": groups if "--workflow-profile" in arguments else "",
        "wall_seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": round(usage.ru_maxrss / 1024),
        "load_of_machine": round(os.getloadavg()[0], 1),
    }


def cases(runs: int, folder: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Yield name, working directory and arguments of the cases of a grid."""
    slurm = ["--workflow-profile", str(ROOT / "workflow/profiles/slurm")]
    options = {"": [], ", not listed": ["--quiet"], ", Slurm profile": slurm}
    gammas = [number / 1000 for number in range(runs // 10)]
    grids = {
        "a job per run": ("run", "run"),
        "a job per cell": ("cell", "cell"),
        "a job per run, calibration per cell": ("run", "cell"),
    }
    for name, (train, calibration) in grids.items():
        file = folder / f"{train}_{calibration}.yaml"
        file.write_text(
            GRID.format(gammas=gammas, train=train, calibration=calibration), encoding="utf-8"
        )
        arguments = ["--directory", str(folder), "--configfile", str(file)]
        for text, option in options.items():
            yield f"{name}{text}", ROOT, [*arguments, *option]
    (folder / "Snakefile").write_text(BARE.format(runs=runs), encoding="utf-8")
    yield "bare Snakefile, a job per run", folder, []
    yield "bare Snakefile, a job per run, not listed", folder, ["--quiet"]


def write(rows: list[dict[str, str | float]]) -> None:
    """Write what was measured so far."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    machine = {
        "cpu": next((line.split(":")[1].strip() for line in cpu if "model name" in line), "?"),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "snakemake": version("snakemake"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "planning.json").write_text(
        json.dumps({"machine": machine, "cases": rows}, indent=2) + "\n", encoding="utf-8"
    )
    table = "\n".join(f"| {' | '.join(map(str, row.values()))} |" for row in rows)
    (RESULTS / "planning.md").write_text(
        "# Planning a grid (dry run)\n\n"
        + ", ".join(f"{key} {value}" for key, value in machine.items())
        + "; one measurement each. The load counts processes of others too.\n\n"
        + f"| {' | '.join(key.replace('_', ' ') for key in rows[0])} |\n"
        + f"|{'---|' * len(rows[0])}\n{table}\n",
        encoding="utf-8",
    )


def main() -> None:
    """Measure every case for each number of runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", type=int, default=[1000, 10000])
    parser.add_argument("--only", nargs="*", help="names of cases")
    arguments = parser.parse_args()
    rows = {}
    if arguments.only:
        record = json.loads((RESULTS / "planning.json").read_text(encoding="utf-8"))
        rows = {(row["runs"], row["case"]): row for row in record["cases"]}
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as scratch:
            for case, folder, options in cases(runs, Path(scratch)):
                if not arguments.only or case in arguments.only:
                    rows[runs, case] = {"runs": runs, **plan(case, folder, *options)}
                    write(list(rows.values()))


if __name__ == "__main__":
    main()
