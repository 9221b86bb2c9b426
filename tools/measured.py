"""Tables of docs/ and config/ that say what was measured: by benchmarks, and by experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from focal_curvature.plotting.common import objective_label

ROOT = Path(__file__).resolve().parents[1]

# As benchmarks/planning.py and growth.py name their cases -> as docs/scaling.md does.
PLANNING = {
    "a job per run": "one per run",
    "a job per run, calibration per cell": "one per run, calibration per cell",
    "a job per cell": "one per cell of 5 seeds",
    "a job per cell, curvature and calibration per model": "one per cell or model",
    "bare Snakefile, a job per run": "bare Snakefile, one per run",
}
IN_GROUPS = ", Slurm profile"


def results(name: str) -> dict[str, Any]:
    """Read a benchmark's results."""
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(value: float | None, digits: int = 2) -> str:
    """Round to so many significant digits, or to all of those before the point: 12,345."""
    if value is None:
        return ""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:g}"


def span(values: Sequence[float]) -> str:
    """Name the smallest and the largest."""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def smooth() -> str:
    """Return what networks that are not piecewise linear cost, by library."""
    networks = {"gelu_mlp": "GELU MLP", "tiny_vit": "tiny ViT"}
    every = results("smooth")
    found = [every[name] for name in networks]

    def row(name: str, cell: Callable[[dict[str, Any]], str]) -> list[str]:
        return [name, *map(cell, found)]

    def engine(one: dict[str, Any]) -> str:
        parts = one["engine: Gauss-Newton, and the residual"]
        whole = one["gradients to 1%"]["engine"]
        return f"{shown(whole, 3)} ({' + '.join(shown(part, 3) for part in parts)})"

    def gradients(peer: str) -> Callable[[dict[str, Any]], str]:
        return lambda one: shown(one["gradients to 1%"][peer], 3)

    def eigenvalues(peer: str) -> Callable[[dict[str, Any]], str]:
        errors = "five eigenvalues: largest relative error"
        return lambda one: (
            f"{shown(one['gradients to']['five eigenvalues'][peer], 3)} ({one[errors][peer]:.1%})"
        )

    def density(peer: str) -> Callable[[dict[str, Any]], str]:
        return lambda one: shown(one["gradients to"]["a density"][peer], 3)

    rows = [row("trace to 1%: engine (Gauss-Newton matrix + residual)", engine)]
    rows += [
        row(f"trace to 1%: {peer}", gradients(peer))
        for peer in found[0]["gradients to 1%"]
        if peer != "engine"
    ]
    rows += [
        row(f"five eigenvalues (largest error): {peer}", eigenvalues(peer))
        for peer in found[0]["gradients to"]["five eigenvalues"]
    ]
    rows += [
        row(f"a density of as many products: {peer}", density(peer))
        for peer in found[0]["gradients to"]["a density"]
    ]
    rows.append(row("processor", lambda one: one["machine"]["processor"]))
    loads = [shown(one["machine"]["load average before"]) for one in found]
    rows.append(["load average before", *loads])
    return table(["cost in gradients", *networks.values()], rows)


def peers() -> str:
    """Return what piecewise linear networks cost, by library."""
    every = results("curvature")
    networks = {"small_cnn": "small CNN", "resnet20": "ResNet-20"}
    found = [every[name] for name in networks]

    def row(name: str, cell: Callable[[dict[str, Any]], str]) -> list[str]:
        return [name, *map(cell, found)]

    def product(*peers: str) -> Callable[[dict[str, Any]], str]:
        return lambda one: " / ".join(f"{one['product, in gradients'][peer]:.1f}" for peer in peers)

    def times(*keys: str) -> Callable[[dict[str, Any]], str]:
        return lambda one: " / ".join(shown(one["times faster"].get(key)) for key in keys)

    def peers_traces(one: dict[str, Any]) -> str:
        ratios = one["trace"].get("engine, times faster than", {})
        return ", ".join(f"{peer} {shown(ratio)}" for peer, ratio in ratios.items())

    def of_pyhessian(what: str) -> tuple[str, str]:
        return f"{what} than PyHessian data loader", f"{what} than PyHessian kept graph"

    rows = [
        row("one product, in gradients: engine", product("engine")),
        row(
            "PyHessian, data loader / kept graph",
            product("PyHessian, data loader", "PyHessian, kept graph"),
        ),
        row("curvlinops / hessian-eigenthings", product("curvlinops", "hessian-eigenthings")),
        row(
            "tracing, once for all networks of one structure, in gradients",
            lambda one: shown(one["tracing, in gradients"]),
        ),
        row(
            "products for the top eigenvalue to 1%: engine",
            lambda one: span(one["top eigenvalue"]["engine's rule"]["products"]),
        ),
        row(
            "PyHessian by its rule / if it knew when to stop",
            lambda one: " / ".join((
                span(one["top eigenvalue"]["PyHessian's rule"]["products"]),
                span(one["top eigenvalue"]["fewest iterations, power"]),
            )),
        ),
        row(
            "hessian-eigenthings, if it knew when to stop",
            lambda one: shown(one["top eigenvalue"]["hessian-eigenthings"]["products"]),
        ),
        row(
            "top eigenvalue, times faster than PyHessian, loader / kept graph",
            times(*of_pyhessian("top eigenvalue")),
        ),
        row(
            "than curvlinops' products in our Lanczos / hessian-eigenthings",
            times(
                "top eigenvalue than curvlinops", "top eigenvalue than hessian-eigenthings"
            ),
        ),
        row("trace: passes of the engine", lambda one: str(one["trace"]["engine's passes"])),
        row(
            "Hutchinson's probes to a standard error of 1%",
            lambda one: shown(one["trace"]["Hutchinson's probes to 1% standard error"]),
        ),
        row(
            "trace, times faster than PyHessian, loader / kept graph",
            times(*of_pyhessian("trace")),
        ),
        row("than others, as soon as they are within 1%", peers_traces),
        row("both, times faster than PyHessian, loader / kept graph", times(*of_pyhessian("both"))),
        row(
            "peak memory with 1,024 samples over that with 128, 64 kept",
            lambda one: f"{one['memory']['ratio']:.2f}",
        ),
    ]  # fmt: skip
    return table(["", *networks.values()], rows)


def validation() -> str:
    """Return how far both estimators agree on the networks of the grid, and their time."""
    every = pd.DataFrame(results("curvature")["grid"])
    networks = {"small_cnn": "small CNN", "small_resnet": "small ResNet"}
    found = [every[every["model"] == name] for name in networks]

    def largest(column: str) -> list[str]:
        return [shown(one[column].abs().max()) for one in found]

    def medians(what: str, digits: int) -> list[str]:
        return [
            " / ".join(
                shown(one[column].median(), digits)
                for column in (what.format("PyHessian"), what.format("engine"))
            )
            for one in found
        ]

    spread = [f"{(one['stderr'] / one['trace, engine']).median():.1%}" for one in found]
    faster = [
        shown(one["pyhessian, seconds"].sum() / one["engine, seconds"].sum()) for one in found
    ]
    seconds = [
        f"{one['pyhessian, seconds'].median():.2f} / {one['engine, seconds'].median():.2f}"
        for one in found
    ]
    rows = {
        "largest difference of the traces, in PyHessian's standard errors": largest(
            "difference / stderr"
        ),
        "median standard error of PyHessian's trace; the engine's is exact": spread,
        "largest relative difference of the top eigenvalues": largest("top, relative difference"),
        "median products for the top eigenvalue, PyHessian / engine": medians("products, {}", 3),
        "median seconds for both numbers, PyHessian / engine": seconds,
        "all networks, times faster, recording included": faster,
    }
    return table(["", *networks.values()], [[name, *cells] for name, cells in rows.items()])


def planning() -> str:
    """Return what it costs to plan, by how jobs are cut."""
    found = {(case["case"], case["size"]): case for case in results("planning")["cases"]}
    rows = []
    for (name, size), case in found.items():
        if name not in PLANNING or size < 4000:
            continue
        grouped = found.get((name + IN_GROUPS, size), {})
        seconds = (case["cpu_seconds"], grouped.get("cpu_seconds"))
        rows.append([
            *(PLANNING[name], f"{size:,}", f"{case['jobs']:,}"),
            *(shown(value) for value in (*seconds, case["peak_megabytes"] / 1000)),
        ])  # fmt: skip
    head = ["jobs", "runs", "of them jobs", "processor seconds", "in groups", "GB"]
    return table(head, rows)


def growth() -> str:
    """Return what grows with runs, seeds and samples, and how fast."""
    rows = []
    for part in results("growth").values():
        for case in dict.fromkeys(row["case"] for row in part["rows"]):
            ends = [row for row in part["rows"] if row["case"] == case]
            ends = [ends[0], ends[-1]] if len(ends) > 1 else ends
            exponent = part["exponents"].get(case, {}).get("seconds")
            rows.append([
                case,
                *(", ".join(f"{row[key]:,}" for row in ends) for key in ("size", "seconds")),
                "" if exponent is None else f"{exponent:.1f}",
                ", ".join(f"{row['peak_megabytes']:,}" for row in ends),
            ])  # fmt: skip
    return table(["what, by what", "size", "seconds", "exponent", "MB"], rows)


def costs() -> str:
    """Return what the committed experiments took."""
    rows = []
    for file in sorted(ROOT.glob("paper_figures/*/tables/cost.csv")):
        folder, cost = file.parents[1], pd.read_csv(file)
        made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        hours, memory = cost["wall_s"].sum() / 3600, cost["peak_mb"].max() / 1000
        rows.append([folder.name, f"{made['runs']:,}", shown(hours), shown(memory)])
    return table(["experiment", "runs", "hours of jobs", "GB of the largest job"], rows)


def convolutions() -> str:
    """Return the largest error of every model's convolutions, in epsilons, by instructions."""
    found = pd.read_csv(ROOT / "docs/convolutions.csv")
    kinds = ("output", "input", "weight", "bias")
    head = ["model", "instructions", "convolutions", "output", "input's gradient", "weight's"]
    return table(
        [*head, "bias's"],
        (
            [row["model"], row["instructions"], str(row["convolutions"])]
            + ["" if pd.isna(row[kind]) else f"{row[kind]:.1f}" for kind in kinds]
            for row in found.to_dict("records")
        ),
    )


def check() -> str:
    """Return what it costs to compare a model's convolutions, beside a gradient of a batch."""
    found = pd.read_csv(ROOT / "docs/convolutions.csv")
    own = found[found["instructions"] != "limited to AVX2"]
    return table(
        ["network", "second derivatives too", "check, s", "gradient on 32 images, s"],
        (
            [row["model"], "yes" if row["second"] else "no"]
            + [shown(row[name]) for name in ("check_seconds", "step_seconds")]
            for row in own[own["convolutions"] > 0].to_dict("records")
        ),
    )


SEVERITIES = (0, 3, 5)
SHIFT = """
## Under distribution shift

Change from cross-entropy under the same corruption, paired by seed, with its 95% interval: ECE in
points, refinement in nats; means over five kinds of corruption of a severity, 0 being none.
Described, not judged. All severities, kinds and scores are in
`paper_figures/<experiment>/tables/shift.csv`.

"""


def shift() -> str:
    """Return what corruptions leave of each objective's change from cross-entropy."""
    metrics = {"ece_change": ("ECE", 100, 1), "nll_refinement_change": ("refinement", 1, 3)}
    rows = []
    for file in sorted(ROOT.glob("paper_figures/*/tables/shift.csv")):
        found = pd.read_csv(file)
        found = found[found["metric"].isin(metrics) & found["shift"].isin(["none", "corruptions"])]
        for (model, objective), part in found.groupby(["model", "objective"], sort=False):
            cells = part.set_index(["metric", "severity"])
            row = [file.parts[-3], model, objective_label(objective)]
            for metric, (_, scale, digits) in metrics.items():
                for severity in SEVERITIES:
                    mean, low, high = scale * cells.loc[(metric, severity), ["mean", "low", "high"]]
                    row.append(f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
            rows.append(row)
    head = [f"{name}, severity {s}" for name, *_ in metrics.values() for s in SEVERITIES]
    return SHIFT + table(["experiment", "network", "objective", *head], rows) + "\n"


PREDICTORS = """
## What foretells calibration

Cross-entropy alone, trained in many ways. For each seed and intervention, a line from a predictor
to the outcome is fitted to that seed's runs under all other interventions; *Error*: what it is
off under this one, in points, mean over interventions with its 95% interval over seeds. *From the
trace's*: paired by seed, p after Holm's correction. *Neighbours*: the error where the mean of the
five runs that are nearest in the predictor stands in the line's place: it follows a relation that
turns, as a line does not. *τ*: Kendall's, within an intervention. The fitted temperature is close
to the outcome by definition; accuracy and gaps are of the same test images. Described, not judged;
neighbours were added when the other columns were known. Each intervention by itself:
`paper_figures/<experiment>/tables/predictors.csv`.

"""


def predictors() -> str:
    """Return how well each predictor foretells calibration, as the experiments' tables print it."""
    parts = [
        f"{file.parts[-3]}:\n\n{file.read_text(encoding='utf-8')}"
        for file in sorted(ROOT.glob("paper_figures/*/tables/predictors.md"))
    ]
    return PREDICTORS + "\n".join(parts) + "\n"


def sections() -> dict[tuple[Path, str], str]:
    """Return each table by its file and its name there."""
    pages = {
        "docs/curvature.md": (smooth, peers, validation),
        "docs/scaling.md": (planning, growth),
        "docs/convolutions.md": (check, convolutions),
        "docs/results.md": (shift, predictors),
        "config/README.md": (costs,),
    }
    return {
        (ROOT / page, make.__name__): make() for page, makers in pages.items() for make in makers
    }
