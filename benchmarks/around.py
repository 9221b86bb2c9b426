"""What the default experiment costs around its work: start-up, overhead per job, idle cores, no-op.

python benchmarks/around.py [FOLDER] runs it on two cores, minutes, in a clone of the current commit
(in FOLDER, or in a temporary one), and then a Snakefile whose scripts import torch and do nothing.
Writes benchmarks/results/around.{json,md}.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from machine import machine, stated
from training import RESULTS

ROOT = Path(__file__).parents[1]
CORES, JOBS = 2, 10
BARE = f"""\
rule all:
    input: expand("{{i}}.txt", i=range({JOBS}))
rule bare:
    output: "{{i}}.txt"
    benchmark: "{{i}}.tsv"
    script: "bare.py"
"""
SCRIPT = "import torch\nopen(snakemake.output[0], 'w').close()\n"


def snakemake(folder: Path, *more: str, cores: int = CORES) -> float:
    """Run Snakemake, on its default target if not told more, and return the seconds it took."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", str(cores), *more],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def seconds(file: Path) -> float:
    """Wall seconds of a job, from its benchmark file."""
    return float(pd.read_csv(file, sep="\t")["s"].iloc[-1])


def bare() -> float:
    """Median seconds of a job that imports torch, one at a time."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "Snakefile").write_text(BARE, encoding="utf-8")
        (folder / "bare.py").write_text(SCRIPT, encoding="utf-8")
        snakemake(folder, cores=1)
        return statistics.median(seconds(file) for file in folder.glob("*.tsv"))


def outside(results: Path) -> dict[tuple[str, str], float]:
    """Return the seconds outside the library's work of every training and curvature job.

    By stage and job. The library's are those that its records say: reading the data counts as
    outside.
    """
    found = {}
    for stage, records in (("train", "*/run.json"), ("curvature", "*/*/curvature/*.json")):
        folder = results / "benchmarks" / stage
        for file in folder.rglob("*.tsv"):
            # An objective's name may end in what looks like a suffix, as in focal-0.5.
            job = str(file.relative_to(folder)).removesuffix(".tsv")
            work = [
                json.loads(record.read_text(encoding="utf-8"))
                for record in (results / job).glob(records)
            ]
            found[stage, job] = seconds(file) - sum(record["seconds"] for record in work)
    return found


def first_step(results: Path) -> float:
    """When the first training began, in seconds of the system's clock."""
    starts = []
    for file in results.rglob("run.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        starts.append(file.stat().st_mtime - record["seconds"] * len(record["trained_together"]))
    return min(starts)


def measure(folder: Path) -> dict[str, float]:
    """Run the default experiment in a checkout and measure what is around its work.

    Jobs share the machine with another and with Snakemake itself; so that their own part shows, one
    of each stage is run once more, with nothing beside it.
    """
    results, began = folder / "results/digits", time.time()
    whole = snakemake(folder)
    jobs = [seconds(file) for file in (folder / "results").rglob("*.tsv")]
    beside, first = pd.Series(outside(results)), first_step(results) - began
    nothing = snakemake(folder)
    run = "results/digits/small_cnn/ce/seed0"
    snakemake(folder, "--force", f"{run}/run.json", f"{run}/curvature/objective.json", cores=1)
    alone = outside(results)
    return {
        "the whole run": whole,
        "busy share of the cores": sum(jobs) / (CORES * whole),
        "from snakemake to the first training step": first,
        **{
            f"outside its work, a {stage} job": s
            for stage, s in beside.groupby(level=0).median().items()
        },
        "outside its work, the worst job": beside.max(),
        "outside its work, a train job alone": alone["train", "small_cnn/ce"],
        "outside its work, a curvature job alone": alone["curvature", "small_cnn"],
        "a job that imports torch, alone": bare(),
        "nothing to do": nothing,
    }


def main() -> None:
    """Measure in a clone and write what was found."""
    about = machine("cpu")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        found = {name: round(value, 2) for name, value in measure(folder).items()}
    (RESULTS / "around.json").write_text(
        json.dumps({"machine": about, "seconds": found}, indent=2) + "\n", encoding="utf-8"
    )
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in found.items())
    (RESULTS / "around.md").write_text(
        "# Around the work of the default experiment\n\n"
        + stated(about)
        + f"; {CORES} cores, one run, medians over jobs.\n\n"
        + f"| what | seconds, or share |\n|---|---|\n{rows}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
