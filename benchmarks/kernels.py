"""What ``kernels: portable`` costs on this processor, in pairs with native kernels.

python benchmarks/kernels.py trains cells of the default experiment and measures their curvature, on
one core, native and portable in turns; a quarter of an hour. Writes results/kernels.{json,md}.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
from around import ROOT, seconds, snakemake
from budget import rounds
from machine import machine, stated
from training import RESULTS

PAIRS, BUDGET = 3, 240  # at most so many, as long as they end within so many seconds
CELLS = (
    "small_cnn/ce",
    "small_resnet/focal-3",
    "small_cnn/ce-hessian_trace-0.001",
    "small_resnet/ce-gauss_newton_trace-0.001",
)


def measure(folder: Path, kernels: str) -> dict[str, float]:
    """Train and measure anew with some kernels; return the seconds of each job."""
    results = folder / "results/digits"
    targets = [f"results/digits/{cell}/seed0/curvature/objective.json" for cell in CELLS]
    # The curvature of these cells alone, not of all of a model.
    config = ("--config", f"kernels={kernels}", "jobs={curvature: cell}")
    snakemake(folder, "--forceall", *targets, *config, cores=1)
    return {
        str(file.relative_to(results / "benchmarks").with_suffix("")): seconds(file)
        for stage in ("train", "curvature")
        for file in sorted((results / "benchmarks" / stage).rglob("*.tsv"))
    }


def main() -> None:
    """Measure in a clone and write what was found."""
    about = machine()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        for pair in rounds(PAIRS, BUDGET):
            for kernels in ("native", "portable"):
                for job, took in measure(folder, kernels).items():
                    rows.append({"job": job, "pair": pair, "kernels": kernels, "seconds": took})
    table = pd.DataFrame(rows).pivot(index=["job", "pair"], columns="kernels", values="seconds")
    ratios = (table["portable"] / table["native"]).groupby("job").median()
    jobs = table.groupby("job").median().assign(ratio=ratios)
    sums = table.groupby("pair").sum()
    whole = statistics.median(sums["portable"] / sums["native"])
    found = {"machine": about, "jobs": jobs.round(2).to_dict("index"), "all": round(whole, 3)}
    text = json.dumps(found, indent=2) + "\n"
    (RESULTS / "kernels.json").write_text(text, encoding="utf-8")
    lines = [
        f"| {job} | {row.native:.2f} | {row.portable:.2f} | {row.ratio:.2f} |"
        for job, row in jobs.iterrows()
    ]
    (RESULTS / "kernels.md").write_text(
        "# The price of portable kernels\n\n"
        + stated(about)
        + f"; one core, medians of {pair + 1} pairs. All jobs together: {whole:.2f} times the "
        + "native kernels' time.\n\n| job | native, s | portable, s | ratio |\n|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
