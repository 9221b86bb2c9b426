"""How the cost of tables, of a job of stacked seeds and of curvature grows with their size.

    python benchmarks/growth.py [--only PART...] [--budget SECONDS]

In the repository's root; writes benchmarks/results/growth.{json,md}, with --only that part of them.
What would end after a part's budget is left out.
Each measurement is in a process of its own: time by the clock, which asks for an idle machine, and
peak memory. Planning has a script of its own, planning.py.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import digits_run
import pandas as pd
import torch
import yaml
from curves import curves, exponents, table
from machine import machine, stated

from focal_curvature import page
from focal_curvature.allocator import keep_freed_memory
from focal_curvature.curvature import Settings, engine
from focal_curvature.losses.focal import focal
from focal_curvature.models.small_cnn import small_cnn
from focal_curvature.page.captions import caption, configuration
from focal_curvature.products import products
from focal_curvature.registry import resolve

RESULTS = Path(__file__).parent / "results"
# An experiment of 3 models, 12 objectives and 50 seeds, repeated as further seeds or as further
# models: only their number is not real.
SOURCE, CELLS = Path("paper_figures/digits_power"), 36
POOLED = Path("docs/pooled.csv")
PROCESSES = 2  # what a laptop has at least
CLAIMS = yaml.safe_load(Path("workflow/claims.yaml").read_text(encoding="utf-8"))


def tables_and_page(more: Callable[[pd.DataFrame, int], pd.DataFrame], runs: int) -> None:
    """Make all tables, with the verdicts, and the page of an experiment of so many runs."""
    names = ("runs", "reliability", "histories")
    found = {name: more(pd.read_csv(SOURCE / f"{name}.csv"), runs) for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(SOURCE, Path(scratch, SOURCE.name)))
        found["runs"].to_csv(folder / "runs.csv", index=False)
        settings = {"rules": CLAIMS, "experiment": SOURCE.name}
        for product in products("tables"):
            if set(product.needs) <= set(found):
                given = {key: settings[key] for key in product.settings}
                shared = {"processes": PROCESSES} if product.parallel else {}
                made = resolve(product.path)(found, **given, **shared)
                files = [folder / f"tables/{product.name}.{end}" for end in product.formats]
                files += [folder / product.json] if product.json else []
                resolve(product.write)(product.path, made, files, given)
        text = page.render([page.read(folder, caption, configuration)], page.table(POOLED))
        (folder / "page.html").write_text(text, encoding="utf-8")


def more_seeds(rows: pd.DataFrame, runs: int) -> pd.DataFrame:
    """Repeat a table as further seeds, up to so many runs or their rows."""
    seeds = runs // CELLS
    step = rows["seed"].max() + 1
    parts = [rows.assign(seed=rows["seed"] + start) for start in range(0, seeds, step)]
    return pd.concat(parts, ignore_index=True).query("seed < @seeds")


def more_models(rows: pd.DataFrame, runs: int) -> pd.DataFrame:
    """Repeat a table as further models, so many times as makes so many runs."""
    copies = runs // (CELLS * (rows["seed"].max() + 1))
    parts = [rows.assign(model=rows["model"] + f"_{i}") for i in range(copies)]
    return pd.concat(parts, ignore_index=True)


def training_job(model: str, seeds: int) -> None:
    """Train seeds of a model of the default experiment as one job."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        digits_run.prepare(folder)
        digits_run.run(folder, model, range(seeds))


def curvature(samples: int) -> None:
    """Measure a small network's curvature on so many images of 8 x 8 pixels, with one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    x, y = torch.randn(samples, 1, 8, 8), torch.randint(10, (samples,))
    settings = Settings(estimator="engine", max_iterations=20)
    engine.estimate(small_cnn(10, 1, 8), focal(2.0), x, y, settings, seed=0)


# Part -> its budget in seconds, the sizes, and what is measured at each.
PARTS: dict[str, tuple[float, list[int], dict[str, Callable[[int], None]]]] = {
    "tables": (
        200,
        [1800, 3600, 7200, 10800],
        {
            "tables, verdicts, page by runs, more models": partial(tables_and_page, more_models),
            "tables, verdicts, page by runs, more seeds": partial(tables_and_page, more_seeds),
        },
    ),
    "seeds": (
        80,
        [1, 2, 5, 10, 30],
        {
            f"training {model} by stacked seeds": partial(training_job, model)
            for model in ("small_cnn", "small_resnet")
        },
    ),
    "samples": (40, [1000, 2000, 4000, 10000], {"curvature by samples": curvature}),
}


def cost(work: Callable[[int], None], size: int) -> dict[str, float]:
    """Seconds of the work by the clock, and peak memory of this process, which does nothing else.

    Not processor time: it would leave out what the work's own processes do.
    """
    before = time.perf_counter()
    work(size)
    return {
        "seconds": round(time.perf_counter() - before, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def alone(work: Callable[[int], None], size: int) -> dict[str, float]:
    """Return the `cost` of a piece of work in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cost, work, size).result()


def markdown(found: Mapping[str, Any]) -> str:
    """Lay out what was found as Markdown."""
    parts = ["# Growth\n"]
    for part in found.values():
        powers = [{"case": case, **each} for case, each in part["exponents"].items()]
        parts += [f"{stated(part['machine'])}.\n", table(part["rows"])]
        if powers:
            parts += ["Exponents of the size, fitted over the last decade:\n", table(powers)]
    return "\n".join(parts)


def main() -> None:
    """Measure the parts, and write the JSON file and the Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--budget", type=float, help="seconds of each part, for its own")
    arguments = parser.parse_args()
    file = RESULTS / "growth.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in arguments.only:
        budget, sizes, works = PARTS[name]
        budget = arguments.budget or budget
        about = machine()
        rows = list(curves(sizes, {k: partial(alone, work) for k, work in works.items()}, budget))
        powers = exponents(rows, ["seconds", "peak_megabytes"])
        found[name] = {"machine": about, "rows": rows, "exponents": powers}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
