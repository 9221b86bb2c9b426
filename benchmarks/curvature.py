"""Hold the curvature engine against PyHessian and curvlinops; ratios from one run on one machine.

    python benchmarks/curvature.py [--models small_cnn resnet20] [--grid]

Needs `pip install curvlinops-for-pytorch`. Writes benchmarks/results/curvature.json and .md.

What a method needs to reach 1% is counted, what a pass costs is timed, and for the methods that
would run for hours (Hutchinson with a thousand probes on a ResNet) the product of both is stated.
A power iteration's course is read off the Lanczos run of the same start, whose quadrature gives its
Rayleigh quotients exactly.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import curvlinops
import numpy as np
import pyhessian
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.curvature import Settings, engine, pyhessian_adapter
from focal_curvature.curvature.lanczos import lanczos
from focal_curvature.curvature.operators import Operator, normal, rademacher
from focal_curvature.curvature.problem import Problem
from focal_curvature.curvature.trace import gauss_newton_trace
from focal_curvature.losses.focal import focal
from focal_curvature.models.cifar_resnet import resnet20
from focal_curvature.models.small_cnn import small_cnn
from focal_curvature.models.small_resnet import small_resnet

RESULTS = Path(__file__).parent / "results"
SAMPLES, BATCH, GAMMA, ERROR = 1024, 128, 1.0, 0.01
# Model, image side, training epochs, Lanczos starts, Lanczos steps, Hutchinson probes.
MODELS = {
    "small_cnn": (small_cnn, 28, 8, 3, 40, 100),
    "resnet20": (resnet20, 32, 3, 1, 18, 12),
}


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of a piece of work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def digits(size: int) -> tuple[Tensor, Tensor]:
    """Digits of scikit-learn, enlarged: images (1024, 1, size, size) and labels."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x[:SAMPLES] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return F.interpolate(images, size, mode="bilinear"), torch.tensor(y[:SAMPLES])


def trained(factory: Callable[..., nn.Module], size: int, epochs: int) -> nn.Module:
    """Train a network a little, so that its spectrum has outliers."""
    torch.manual_seed(0)
    model, loss, (x, y) = factory(10, 1, size), focal(GAMMA), digits(size)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for i in torch.randperm(SAMPLES).split(64):
            optimiser.zero_grad()
            loss(model(x[i]), y[i]).mean().backward()
            optimiser.step()
    return model.eval()


def products(model: nn.Module, loss: nn.Module, x: Tensor, y: Tensor, ours: Operator) -> dict:
    """Seconds per gradient and per Hessian product, by library, interleaved."""
    parameters = list(model.parameters())
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))

    def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
        return loss(logits, labels).mean()

    def gradient() -> None:
        for a, b in batches:
            torch.autograd.grad(mean_loss(model(a), b), parameters)

    def whole() -> None:
        torch.autograd.grad(mean_loss(model(x), y), parameters)

    loader = pyhessian.hessian(model, mean_loss, dataloader=batches, cuda=False)
    # The graph of all samples of a ResNet takes more than 10 GB: an eighth of them, times eight.
    part = batches[0] if x.shape[-1] > 28 else (x, y)
    kept = pyhessian.hessian(model, mean_loss, data=part, cuda=False)
    peer = curvlinops.HessianLinearOperator(
        model, _mean(loss), parameters, batches, check_deterministic=False
    )
    anew = Operator(replace(ours.problem, chunk=BATCH), check=False)
    v = [torch.randn_like(p) for p in parameters]
    flat = torch.cat([t.flatten() for t in v])
    hessian_vector_product = pyhessian.utils.hessian_vector_product
    work = {
        "gradient, batches": gradient,
        "gradient, whole": whole,
        "engine": lambda: ours(flat),
        "engine, nothing kept": lambda: anew(flat),
        "PyHessian, data loader": lambda: loader.dataloader_hv_product(v),
        "PyHessian, kept graph": lambda: hessian_vector_product(kept.gradsH, kept.params, v),
        "curvlinops": lambda: peer @ flat,
    }
    # The first round warms up.
    rounds = [{name: seconds(w) for name, w in work.items()} for _ in range(4)][1:]
    found = {name: statistics.median(r[name] for r in rounds) for name in work}
    found["PyHessian, kept graph"] *= len(y) / len(part[1])
    model.zero_grad(set_to_none=True)
    difference = (ours(flat) - peer @ flat).norm() / ours(flat).norm()
    return found | {"relative difference to curvlinops": float(difference)}


def _mean(loss: nn.Module) -> nn.Module:
    """Wrap a loss as curvlinops wants it: a scalar, and a mean."""
    wrapped = nn.Module()
    wrapped.reduction = "mean"
    wrapped.forward = lambda logits, labels: loss(logits, labels).mean()
    return wrapped


def needed(ritz: Any, truth: float) -> dict[str, int | None]:
    """Products until a power iteration and Lanczos stay within 1%, from one Lanczos run.

    The Rayleigh quotient after k steps is sum w t^(2k + 1) / sum w t^(2k) over the nodes t and
    weights w of the start's quadrature, exact while 2k + 1 < 2m.
    """
    t, w = ritz.values.numpy(), ritz.weights.numpy()
    scaled = t / abs(t).max()
    power = [
        (w * scaled ** (2 * k) * t).sum() / (w * scaled ** (2 * k)).sum() for k in range(len(t))
    ]
    small = ritz.basis @ ritz.images.T
    krylov = [torch.linalg.eigvalsh(small[:m, :m].double())[-1] for m in range(1, len(t) + 1)]

    def first(course: list) -> int | None:
        off = [i for i, value in enumerate(course) if abs(value - truth) > ERROR * truth]
        return None if len(off) and off[-1] == len(course) - 1 else (off[-1] + 2 if off else 1)

    return {"power": first(power), "lanczos": first(krylov)}


class _Duck:
    """Our operator as curvlinops' estimators want it."""

    def __init__(self, operator: Operator) -> None:
        self.operator, size = operator, operator.problem.size
        self.shape, self.dtype, self.device = (size, size), torch.float32, torch.device("cpu")

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.operator(x.T.contiguous()).T if x.ndim > 1 else self.operator(x)


def peers_trace(operator: Operator, truth: float) -> dict[str, dict[str, float]]:
    """Root mean square relative error of curvlinops' estimators by number of products."""
    found: dict[str, dict[str, float]] = {}
    for name in ("hutchpp_trace", "xtrace"):
        found[name] = {}
        for budget in (60, 120):
            errors = []
            for seed in range(3):
                torch.manual_seed(seed)
                errors.append(float(getattr(curvlinops, name)(_Duck(operator), budget)) / truth - 1)
            found[name][str(budget)] = math.sqrt(np.mean(np.square(errors)))
    return found


def measured(name: str) -> dict[str, Any]:
    """All about one model."""
    factory, size, epochs, starts, steps, probes = MODELS[name]
    model, loss, (x, y) = trained(factory, size, epochs), focal(GAMMA), digits(size)
    generator = torch.Generator().manual_seed(1)

    def top() -> Any:
        start = time.perf_counter()
        problem = Problem.of(model, loss, x, y, batch=BATCH, chunk=SAMPLES)
        operator = Operator(problem)
        tracing = time.perf_counter() - start
        ritz = lanczos(operator, normal(problem, generator), tolerance=0.01, max_iterations=50)
        return problem, operator, tracing, ritz, time.perf_counter() - start

    # The first run warms up, as the peers' products are.
    attempts = [top()[2:] for _ in range(3)][1:]
    problem, operator, tracing, ritz, top_seconds = top()
    tracing = statistics.median([tracing, *(a[0] for a in attempts)])
    top_seconds = statistics.median([top_seconds, *(a[2] for a in attempts)])
    cost = products(model, loss, x, y, operator)

    runs = [
        lanczos(operator, normal(problem, generator), max_iterations=steps) for _ in range(starts)
    ]
    best = max((r.eigenvalues[0] for r in runs), key=lambda e: e.estimate)
    counts = [needed(r, best.estimate) for r in runs]
    forms = [
        float(v @ operator(v))
        for v in (rademacher(problem, generator, 1)[0] for _ in range(probes))
    ]
    start = time.perf_counter()
    passes = gauss_newton_trace(problem, generator, budget=50, relative_error=ERROR)
    exact = Operator(problem, "residual").blocks_vanish()
    trace_seconds = time.perf_counter() - start
    trace = float(passes.layers.sum())
    double = Problem.of(model, loss, x, y, dtype=torch.float64, batch=BATCH, chunk=BATCH)
    truth = gauss_newton_trace(double, generator, budget=50, relative_error=ERROR)
    reference = float(truth.layers.sum())
    vector = runs[0].vectors[0].double()
    # The reference eigenvalue: Rayleigh quotient in float64, with its residual, of the best vector.
    image = Operator(double, check=False)(vector / vector.norm())
    quotient = float(vector @ image / vector.norm())
    residual = float((image - quotient * vector / vector.norm()).norm()) / quotient

    sd, mean = statistics.stdev(forms), statistics.mean(forms)
    hutchinson = math.ceil((sd / (ERROR * reference)) ** 2)
    gradient = min(cost["gradient, batches"], cost["gradient, whole"])
    power = [c["power"] or steps for c in counts]
    power_median = statistics.median(power)
    loader = cost["PyHessian, data loader"]
    kept = cost["PyHessian, kept graph"]
    both = top_seconds + trace_seconds
    table = {
        "parameters": problem.size,
        "seconds per gradient": gradient,
        "product, in gradients": {
            k: cost[k] / gradient
            for k in (
                "engine",
                "engine, nothing kept",
                "PyHessian, kept graph",
                "PyHessian, data loader",
                "curvlinops",
            )
        },
        "tracing, in gradients": tracing / gradient,
        "relative difference of a product to curvlinops": cost["relative difference to curvlinops"],
        "top eigenvalue": {
            "reference (float64)": quotient,
            "reference's relative residual": residual,
            "engine's relative error": abs(ritz.eigenvalues[0].estimate / quotient - 1),
            "engine's products": ritz.eigenvalues[0].products,
            "products to 1%, Lanczos": [c["lanczos"] for c in counts],
            "products to 1%, power iteration": [c["power"] for c in counts],
            "engine, seconds": top_seconds,
            "PyHessian data loader, seconds": power_median * loader,
            "PyHessian kept graph, seconds": power_median * kept,
            "curvlinops, seconds (Lanczos's products)": ritz.eigenvalues[0].products
            * cost["curvlinops"],
        },
        "trace": {
            "reference (float64)": reference,
            "exact by structure": exact,
            "engine's relative error": abs(trace / reference - 1),
            "engine's passes": passes.passes,
            "Hutchinson's mean over reference": mean / reference,
            "its standard error": sd / math.sqrt(probes) / reference,
            "Hutchinson's probes to 1% standard error": hutchinson,
            "engine, seconds": trace_seconds,
            "PyHessian data loader, seconds": hutchinson * loader,
            "PyHessian kept graph, seconds": hutchinson * kept,
            "curvlinops Hutchinson, seconds": hutchinson * cost["curvlinops"],
        },
    }
    if name == "small_cnn":
        table["trace"]["curvlinops' relative error by products"] = peers_trace(operator, reference)
    top, tr = table["top eigenvalue"], table["trace"]
    table["times faster"] = {
        f"{what} than {peer}": (
            top[f"{peer}, seconds"] * (what != "trace")
            + tr[f"{peer}, seconds"] * (what != "top eigenvalue")
        )
        / mine
        for what, mine in (
            ("top eigenvalue", top_seconds),
            ("trace", trace_seconds),
            ("both", both),
        )
        for peer in ("PyHessian data loader", "PyHessian kept graph")
    }
    table["times faster"]["trace than curvlinops Hutchinson"] = (
        tr["curvlinops Hutchinson, seconds"] / trace_seconds
    )
    table["times faster"]["top eigenvalue than curvlinops"] = (
        top["curvlinops, seconds (Lanczos's products)"] / top_seconds
    )
    return table


def _peak(name: str, samples: int, queue: Any) -> None:
    """Peak memory of a product in a process of its own, in MB."""
    torch.set_num_threads(1)
    factory, size, *_ = MODELS[name]
    x = torch.randn(samples, 1, size, size)
    y = torch.randint(10, (samples,))
    problem = Problem.of(factory(10, 1, size), focal(GAMMA), x, y, batch=32, chunk=64)
    operator = Operator(problem)
    for _ in range(2):
        operator(torch.randn(problem.size))
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(name: str) -> dict[str, float]:
    """Peak memory with 128 and with 1,024 samples, 64 of them kept."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for samples in (128, 1024):
        queue = context.Queue()
        process = context.Process(target=_peak, args=(name, samples, queue))
        process.start()
        found[f"{samples} samples, MB"] = queue.get()
        process.join()
    found["ratio"] = found["1024 samples, MB"] / found["128 samples, MB"]
    return found


def machine() -> dict[str, Any]:
    """Describe what the numbers depend on, and nothing that names the place."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if "model name" in line), "?"),
        "cores": os.cpu_count(),
        "threads used": torch.get_num_threads(),
        "load average before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyhessian": "0.1",
        "curvlinops": getattr(curvlinops, "__version__", "3.0.1"),
    }


def grid() -> list[dict[str, Any]]:
    """Both estimators, behind their one interface, over networks trained on 400 digits.

    PyHessian at its 50 probes per call, as the workflow's default configuration has it.
    """
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x[:400] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(y[:400])
    rows = []
    for factory in (small_cnn, small_resnet):
        for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
            for seed in (0, 1):
                torch.manual_seed(seed)
                model, loss = factory(10, 1, 8), focal(gamma)
                optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
                for _ in range(30):
                    for i in torch.randperm(400).split(32):
                        optimiser.zero_grad()
                        loss(model(x[i]), y[i]).mean().backward()
                        optimiser.step()
                row: dict[str, Any] = {"model": factory.__name__, "gamma": gamma, "seed": seed}
                found = {}
                for name, run in (("pyhessian", pyhessian_adapter), ("engine", engine)):
                    settings = Settings.of({"estimator": name, "batch": 400})
                    start = time.perf_counter()
                    found[name] = run.estimate(model, loss, x, y, settings, seed)
                    row[f"{name}, seconds"] = time.perf_counter() - start
                theirs, ours = found["pyhessian"], found["engine"]
                rows.append(
                    row
                    | {
                        "trace, PyHessian": theirs.trace.estimate,
                        "stderr": theirs.trace.stderr,
                        "trace, engine": ours.trace.estimate,
                        "difference / stderr": (theirs.trace.estimate - ours.trace.estimate)
                        / theirs.trace.stderr,
                        "top, PyHessian": theirs.top_eigenvalue.estimate,
                        "top, engine": ours.top_eigenvalue.estimate,
                        "top, relative difference": theirs.top_eigenvalue.estimate
                        / ours.top_eigenvalue.estimate
                        - 1,
                        "products, PyHessian": theirs.top_eigenvalue.products,
                        "products, engine": ours.top_eigenvalue.products,
                    }
                )
    return rows


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one of paths."""
    rows: dict[str, Any] = {}
    for key, value in table.items():
        rows |= (
            flat(value, f"{prefix}{key}: ") if isinstance(value, dict) else {prefix + key: value}
        )
    return rows


def shown(value: Any) -> str:
    """Three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure, and write the JSON file and the Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--grid", action="store_true", help="the validation grid as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Using backward")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "curvature.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    found |= {"samples": SAMPLES, "gamma": GAMMA}
    for name in arguments.models:
        found[name] = {"machine": machine(), "memory": memory(name)} | measured(name)
        file.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.grid:
        found["grid"] = grid()
        file.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "curvature.md").write_text(markdown(found))


def markdown(found: dict[str, Any]) -> str:
    """Lay out what was found as Markdown tables."""
    names = [name for name in MODELS if name in found]
    tables = {name: flat(found[name]) for name in names}
    keys = list(dict.fromkeys(k for table in tables.values() for k in table))
    lines = [f"| {SAMPLES} samples, focal loss with gamma {GAMMA:g} | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for key in keys:
        cells = (shown(table.get(key, "")) for table in tables.values())
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    if rows := found.get("grid"):
        lines += ["", "| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(shown(v) for v in row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
