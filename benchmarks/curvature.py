"""Hold the curvature engine against its peers; ratios from one run on one machine.

    PYTHONPATH=src python benchmarks/curvature.py [--models small_cnn resnet20] [--grid]

The peers are PyHessian, curvlinops and hessian-eigenthings (`pip install .[dev]`). Writes
benchmarks/results/curvature.json and .md.

What a method needs to reach 1% is counted, what a pass costs is timed, and for the methods that
would run for hours (Hutchinson with a thousand probes on a ResNet) the product of both is stated.

Eigenvalues: who calls `eigenvalues(tol=...)` does not know the answer, so that a method is charged
what its own stopping rule spends at the loosest tolerance that is within 1% from every start; for
PyHessian also the fewest iterations that happen to be enough. hessian-eigenthings makes as many as
it is told: it is charged the fewest that are within 1% from every start. A power iteration's
course is read off the Lanczos run of the same start, whose quadrature gives its quotients exactly.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import curvlinops
import hessian_eigenthings
import numpy as np
import pyhessian
import torch
from machine import PEERS, machine
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.allocator import keep_freed_memory
from focal_curvature.curvature import Eigenvalue, Settings, engine, pyhessian_adapter
from focal_curvature.curvature.lanczos import Ritz, lanczos
from focal_curvature.curvature.operators import Operator
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
    "small_cnn": (small_cnn, 28, 15, 10, 60, 100),
    "resnet20": (resnet20, 32, 15, 3, 25, 12),
}
PYHESSIAN_TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # 1e-3 is its default
PEERS_PRODUCTS = (60, 120)  # of Hutch++ and XTrace
EIGENTHINGS_ITERATIONS = range(2, 21)  # 2 is its default for one eigenvalue
ENGINE_TOLERANCES = (0.1, 0.03, 0.01, 0.003)  # 0.01 is the default


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of a piece of work, in one thread: others' work is not in it."""
    start = time.process_time()
    work()
    return time.process_time() - start


def digits(size: int) -> tuple[Tensor, Tensor]:
    """Digits of scikit-learn, enlarged: images (1024, 1, size, size) and labels."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x[:SAMPLES] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return F.interpolate(images, size, mode="bilinear"), torch.tensor(y[:SAMPLES])


def trained(factory: Callable[..., nn.Module], size: int, epochs: int) -> nn.Module:
    """Train a network until it fits, as those are that the workflow measures."""
    torch.manual_seed(0)
    model, loss, (x, y) = factory(10, 1, size), focal(GAMMA), digits(size)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for i in torch.randperm(SAMPLES).split(64):
            optimiser.zero_grad()
            loss(model(x[i]), y[i]).mean().backward()
            optimiser.step()
        schedule.step()
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
    eigenthings = hessian_eigenthings.HessianOperator(
        model, batches, lambda net, batch: mean_loss(net(batch[0]), batch[1])
    )
    anew = Operator.on(replace(ours.problem, chunk=BATCH), check=False)
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
        "hessian-eigenthings": lambda: eigenthings.matvec(flat),
    }
    # The first round warms up.
    rounds = [{name: seconds(w) for name, w in work.items()} for _ in range(4)][1:]
    found = {name: statistics.median(r[name] for r in rounds) for name in work}
    found["PyHessian, kept graph"] *= len(y) / len(part[1])
    model.zero_grad(set_to_none=True)
    product = ours(flat)
    differences = {
        f"relative difference to {name}": float((product - theirs).norm() / product.norm())
        for name, theirs in (
            ("curvlinops", peer @ flat),
            ("hessian-eigenthings", eigenthings.matvec(flat)),
        )
    }
    return found | differences


def _mean(loss: nn.Module) -> nn.Module:
    """Wrap a loss as curvlinops wants it: a scalar, and a mean."""
    wrapped = nn.Module()
    wrapped.reduction = "mean"
    wrapped.forward = lambda logits, labels: loss(logits, labels).mean()
    return wrapped


def power_course(ritz: Ritz) -> list[float]:
    """Rayleigh quotients of a power iteration, from the Lanczos run of the same start.

    After k steps it is sum w t^(2k + 1) / sum w t^(2k) over the nodes t and weights w of the
    start's quadrature, exact while 2k + 1 < 2m.
    """
    t, w = ritz.values.numpy(), ritz.weights.numpy()
    scaled = t / abs(t).max()
    return [
        (w * scaled ** (2 * k) * t).sum() / (w * scaled ** (2 * k)).sum() for k in range(len(t))
    ]


def stopped(course: list[float], tolerance: float) -> tuple[float, int]:
    """Return PyHessian's answer, which is the quotient before the last one, and its products."""
    for k in range(1, len(course)):
        if abs(course[k] - course[k - 1]) / (abs(course[k - 1]) + 1e-6) < tolerance:
            return course[k - 1], k + 1
    return course[-1], len(course)


class Remembered:
    """An operator that makes each product once: runs from one start share their first steps."""

    def __init__(self, operator: Operator) -> None:
        self.operator, self.made = operator, []

    def __call__(self, vector: Tensor) -> Tensor:  # noqa: D102
        for known, image in self.made:
            if torch.equal(known, vector):
                return image
        self.made.append((vector, self.operator(vector)))
        return self.made[-1][1]


@dataclass
class Courses:
    """How both iterations went from several starts.

    ``theirs`` and ``ours`` hold, by tolerance, (relative error, products) for each start; ``lucky``
    the fewest iterations of the power method that are enough; ``vector`` the top eigenvector.
    """

    theirs: dict[float, list[tuple[float, int]]]
    ours: dict[float, list[tuple[float, int]]]
    lucky: list[int]
    vector: Tensor


def courses(operator: Operator, generator: torch.Generator, starts: int, steps: int) -> Courses:
    """Follow Lanczos, and with it the power iteration, from random starts."""
    runs, ours = [], {tolerance: [] for tolerance in ENGINE_TOLERANCES}
    for _ in range(starts):
        start, remembered = operator.normal(generator), Remembered(operator)
        for tolerance in ENGINE_TOLERANCES:
            found = lanczos(remembered, start, tolerance=tolerance, max_iterations=steps)
            ours[tolerance].append((found.eigenvalues[0].estimate, found.eigenvalues[0].products))
        runs.append(lanczos(remembered, start, max_iterations=steps))
    best = max(runs, key=lambda run: run.eigenvalues[0].estimate)
    truth = best.eigenvalues[0].estimate
    power = [power_course(run) for run in runs]
    theirs = {t: [stopped(course, t) for course in power] for t in PYHESSIAN_TOLERANCES}
    theirs, ours = (
        {t: [(abs(value / truth - 1), n) for value, n in rows] for t, rows in found.items()}
        for found in (theirs, ours)
    )
    off = [[abs(value / truth - 1) > ERROR for value in course] for course in power]
    # One more than the last quotient that is off.
    lucky = [max((k for k, bad in enumerate(row) if bad), default=-1) + 2 for row in off]
    return Courses(theirs, ours, lucky, best.vectors[0])


def by_rule(found: dict[float, list[tuple[float, int]]]) -> dict[str, Any]:
    """Pick the loosest tolerance that is within 1% from every start."""
    worst = {tolerance: max(error for error, _ in rows) for tolerance, rows in found.items()}
    enough = next((t for t, error in worst.items() if error <= ERROR), min(worst))
    return {
        "tolerance": enough,
        "products": [products for _, products in found[enough]],
        "largest relative error by tolerance": {f"{t:g}": error for t, error in worst.items()},
    }


def wrapped(operator: Callable[[Tensor], Tensor], size: int) -> Any:
    """Return an operator as hessian-eigenthings' estimators want it."""
    return hessian_eigenthings.LambdaOperator(
        operator, size=size, device=torch.device("cpu"), dtype=torch.float32
    )


def enough_iterations(operator: Operator, truth: float, starts: int) -> dict[str, Any]:
    """Return the fewest iterations of hessian-eigenthings that are within 1% from every start."""
    remembered = [wrapped(Remembered(operator), operator.size) for _ in range(starts)]
    worst = {}
    for m in EIGENTHINGS_ITERATIONS:
        worst[m] = max(
            abs(hessian_eigenthings.lanczos(
                one, k=1, max_iter=m, which="LA", seed=seed
            ).eigenvalues[0].item() / truth - 1)
            for seed, one in enumerate(remembered)
        )  # fmt: skip
        if worst[m] <= ERROR:
            break
    else:
        raise RuntimeError(f"{m} iterations of hessian-eigenthings are not within 1%: {worst}")
    return {"products": m, "largest relative error by iterations": worst}


class _Duck:
    """Our operator as curvlinops' estimators want it."""

    def __init__(self, operator: Operator) -> None:
        self.operator, size = operator, operator.size
        self.shape, self.dtype, self.device = (size, size), torch.float32, torch.device("cpu")

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.operator(x.T.contiguous()).T if x.ndim > 1 else self.operator(x)


def peers_trace(operator: Operator, truth: float) -> dict[tuple[str, str], dict[int, float]]:
    """Root mean square relative error by number of products, of (library, its estimator)."""

    def of_eigenthings(budget: int, seed: int) -> float:
        matrix = wrapped(operator, operator.size)
        return hessian_eigenthings.hutch_plus_plus(matrix, num_matvecs=budget, seed=seed).estimate

    def of_curvlinops(name: str) -> Callable[[int, int], float]:
        def estimate(budget: int, seed: int) -> float:
            torch.manual_seed(seed)
            return float(getattr(curvlinops, name)(_Duck(operator), budget))

        return estimate

    estimators = {
        ("curvlinops", "hutchpp_trace"): of_curvlinops("hutchpp_trace"),
        ("curvlinops", "xtrace"): of_curvlinops("xtrace"),
        ("hessian-eigenthings", "hutch_plus_plus"): of_eigenthings,
    }
    return {
        key: {
            budget: math.sqrt(
                np.mean([(estimate(budget, seed) / truth - 1) ** 2 for seed in range(3)])
            )
            for budget in PEERS_PRODUCTS
        }
        for key, estimate in estimators.items()
    }


def measured(name: str) -> dict[str, Any]:
    """All about one model."""
    factory, size, epochs, starts, steps, probes = MODELS[name]
    model, loss, (x, y) = trained(factory, size, epochs), focal(GAMMA), digits(size)
    generator = torch.Generator().manual_seed(1)

    problem = Problem.of(model, loss, (x, y), batch=BATCH, chunk=SAMPLES)
    start = time.process_time()
    operator = Operator.on(problem)
    tracing = time.process_time() - start
    went = courses(operator, generator, starts, steps)
    theirs, mine = by_rule(went.theirs), by_rule(went.ours)
    cost = products(model, loss, x, y, operator)

    def top() -> tuple[float, Eigenvalue]:
        began = time.process_time()
        problem = Problem.of(model, loss, (x, y), batch=BATCH, chunk=SAMPLES)
        operator = Operator.on(problem)
        found = lanczos(operator, operator.normal(generator), tolerance=mine["tolerance"])
        return time.process_time() - began, found.eigenvalues[0]

    attempts = [top() for _ in range(3)]
    top_seconds = statistics.median(t for t, _ in attempts)
    forms = [
        float(v @ operator(v)) for v in (operator.signs(generator, 1)[0] for _ in range(probes))
    ]
    start = time.process_time()
    passes = gauss_newton_trace(problem, generator, budget=50, relative_error=ERROR)
    exact = Operator.on(problem, "residual").blocks_vanish()
    trace_seconds = time.process_time() - start
    trace = float(passes.layers.sum())
    double = Problem.of(model, loss, (x, y), dtype=torch.float64, batch=BATCH, chunk=BATCH)
    truth = gauss_newton_trace(double, generator, budget=50, relative_error=ERROR)
    reference = float(truth.layers.sum())
    vector = went.vector.double()
    # The reference eigenvalue: Rayleigh quotient in float64, with its residual, of the best vector.
    image = Operator.on(double, check=False)(vector / vector.norm())
    quotient = float(vector @ image / vector.norm())
    residual = float((image - quotient * vector / vector.norm()).norm()) / quotient

    sd, mean = statistics.stdev(forms), statistics.mean(forms)
    hutchinson = math.ceil((sd / (ERROR * reference)) ** 2)
    gradient = min(cost["gradient, batches"], cost["gradient, whole"])
    spent, lucky, ours = (
        statistics.median(products)
        for products in (theirs["products"], went.lucky, mine["products"])
    )
    eigenthings = enough_iterations(operator, quotient, starts)
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
                "hessian-eigenthings",
            )
        },
        "tracing, in gradients": tracing / gradient,
        "a product": {key: value for key, value in cost.items() if "difference" in key},
        "top eigenvalue": {
            "reference (float64)": quotient,
            "reference's relative residual": residual,
            "PyHessian's rule": theirs,
            "engine's rule": mine,
            "fewest iterations, power": went.lucky,
            "hessian-eigenthings": eigenthings,
            "engine's relative errors, timed": [
                abs(e.estimate / quotient - 1) for _, e in attempts
            ],
            "engine, seconds": top_seconds,
            "PyHessian data loader, seconds": spent * loader,
            "PyHessian kept graph, seconds": spent * kept,
            "PyHessian data loader, fewest iterations, seconds": lucky * loader,
            "PyHessian kept graph, fewest iterations, seconds": lucky * kept,
            "curvlinops, seconds (Lanczos's products)": ours * cost["curvlinops"],
            "hessian-eigenthings, seconds": eigenthings["products"] * cost["hessian-eigenthings"],
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
        peers = peers_trace(operator, reference)
        for (library, estimator), errors in peers.items():
            its = f"{library} {estimator}"
            table["trace"][f"{its}: relative error by products"] = errors
            enough = next((n for n, error in errors.items() if error <= ERROR), None)
            words = "to 1%" if enough else f"for {max(errors)} products, not yet 1%"
            spent_by_peer = (enough or max(errors)) * cost[library]
            table["trace"][f"{its}: seconds {words}"] = spent_by_peer
            faster = table["trace"].setdefault("engine, times faster than", {})
            faster[its] = spent_by_peer / trace_seconds
    eigenvalue, tr = table["top eigenvalue"], table["trace"]
    table["times faster"] = {
        f"{what} than {peer}": (
            eigenvalue[f"{peer}, seconds"] * (what != "trace")
            + tr[f"{peer}, seconds"] * (what != "top eigenvalue")
        )
        / own
        for what, own in (
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
        eigenvalue["curvlinops, seconds (Lanczos's products)"] / top_seconds
    )
    table["times faster"]["top eigenvalue than hessian-eigenthings"] = (
        eigenvalue["hessian-eigenthings, seconds"] / top_seconds
    )
    for peer in ("PyHessian data loader", "PyHessian kept graph"):
        table["times faster"][f"top eigenvalue than {peer}, fewest iterations"] = (
            eigenvalue[f"{peer}, fewest iterations, seconds"] / top_seconds
        )
    return table


def _peak(name: str, samples: int, queue: Any) -> None:
    """Peak memory of a product in a process of its own, in MB."""
    torch.set_num_threads(1)
    factory, size, *_ = MODELS[name]
    x = torch.randn(samples, 1, size, size)
    y = torch.randint(10, (samples,))
    problem = Problem.of(factory(10, 1, size), focal(GAMMA), (x, y), batch=32, chunk=64)
    operator = Operator.on(problem)
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


def fitted_digits() -> Iterator[tuple[str, float, int, nn.Module, Tensor, Tensor]]:
    """Yield model, gamma, seed, the network trained on 400 digits, and the digits."""
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x[:400] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(y[:400])
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
                yield factory.__name__, gamma, seed, model, x, y


def grid() -> list[dict[str, Any]]:
    """Both estimators, behind their one interface, with default settings."""
    rows = []
    for model_name, gamma, seed, model, x, y in fitted_digits():
        row: dict[str, Any] = {"model": model_name, "gamma": gamma, "seed": seed}
        found = {}
        for name, run in (("pyhessian", pyhessian_adapter), ("engine", engine)):
            settings = Settings(estimator=name, batch=400)
            start = time.process_time()
            found[name] = run.estimate(model, focal(gamma), x, y, settings, seed)
            row[f"{name}, seconds"] = time.process_time() - start
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
                "times faster, engine": row["pyhessian, seconds"] / row["engine, seconds"],
            }
        )
    return rows


def settled() -> list[dict[str, Any]]:
    """How often a stopping rule settles on a wrong eigenvalue, by tolerance.

    The Hessians of the training loss and of cross-entropy at the weights of each network of the
    grid, ten starts each.
    """
    found: dict[tuple[str, float], list[tuple[float, int]]] = {}
    generator = torch.Generator().manual_seed(2)
    for _, gamma, _, model, x, y in fitted_digits():
        for measured_gamma in dict.fromkeys((gamma, 0.0)):
            problem = Problem.of(model, focal(measured_gamma), (x, y), batch=400)
            went = courses(Operator.on(problem), generator, starts=10, steps=60)
            for name, rows in (("PyHessian", went.theirs), ("engine", went.ours)):
                for tolerance, starts in rows.items():
                    found.setdefault((name, tolerance), []).extend(starts)
    return [
        {
            "stopping rule": name,
            "tolerance": tolerance,
            "starts": len(rows),
            "off by more than 1%": sum(error > ERROR for error, _ in rows),
            "largest relative error": max(error for error, _ in rows),
            "mean products": statistics.mean(products for _, products in rows),
        }
        for (name, tolerance), rows in found.items()
    ]


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one of paths."""
    rows: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        rows |= flat(value, f"{path}: ") if isinstance(value, dict) else {path: value}
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
    keep_freed_memory()  # as the workflow's jobs do, for all peers alike
    warnings.filterwarnings("ignore", "Using backward")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "curvature.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found |= {"samples": SAMPLES, "gamma": GAMMA}
    for name in arguments.models:
        found[name] = {"machine": machine(packages=PEERS), "memory": memory(name)} | measured(name)
        file.write_text(
            json.dumps(found, indent=1, default=lambda number: number.item()) + "\n",
            encoding="utf-8",
        )
    if arguments.grid:
        found["grid"], found["settled"] = grid(), settled()
        file.write_text(
            json.dumps(found, indent=1, default=lambda number: number.item()) + "\n",
            encoding="utf-8",
        )
    (RESULTS / "curvature.md").write_text(markdown(found), encoding="utf-8")


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
    for rows in filter(None, (found.get("grid"), found.get("settled"))):
        lines += ["", "| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(shown(v) for v in row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
