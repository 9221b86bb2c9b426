"""Traces of trained networks that are not piecewise linear: what 1% costs, by library.

    PYTHONPATH=src python benchmarks/smooth.py [--data DIRECTORY] [--networks gelu_mlp tiny_vit]

Needs curvlinops-for-pytorch and hessian-eigenthings, and Fashion-MNIST's archives, which are
fetched unless a directory has them. Writes benchmarks/results/smooth.json and .md, and the table of
the tests' networks of every kind in docs/curvature.md.

Costs are in gradients of the same samples, by processor time in one thread, measured in turns. What
an estimator needs to a standard error of 1% is read off its own standard errors: Hutchinson's from
the spread of its probes, Hutch++'s, at several budgets, from the spread of its last third,
interpolated in logarithms, XTrace's from the spread of whole runs. Products are counted with our
operator, which is the same matrix, and timed with the library's own. The engine's cost is that of
all that a trace takes, but for what is done once for all networks of one structure.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import curvlinops
import hessian_eigenthings
import numpy as np
import pyhessian
import torch
from machine import PEERS, machine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from focal_curvature.curvature import Operator, Problem, Settings, density, lanczos
from focal_curvature.curvature.engine import estimate_of, gauss_newton
from focal_curvature.curvature.prepare import twice_differentiable
from focal_curvature.curvature.trace import residual_traces
from focal_curvature.data import readers, sources

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/unit/curvature"))
from curvature_problems import exact_hessian  # noqa: E402
from test_networks import ZOO, member  # noqa: E402

RESULTS = ROOT / "benchmarks/results"
TRAINED, MEASURED, EPOCHS, ERROR = 2000, 256, 15, 0.01
BUDGETS = (30, 90)  # products of Hutch++ and XTrace
PROBES, XTRACES, RUNS, ROUNDS = 40, 4, 7, 5
EIGENVALUES, STARTS, STEPS = 5, 4, 80  # of the eigenvalues, and of a density
ZOO_PRODUCTS = 99  # of the peers


class TinyViT(nn.Module):
    """Two encoder layers of 32 numbers a token, on 16 patches of 7 x 7 pixels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(49, width)
        self.position = nn.Parameter(0.02 * torch.randn(16, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        patches = F.unfold(x, 7, stride=7).transpose(1, 2)
        return self.head(self.norm(self.encoder(self.embed(patches) + self.position)).mean(1))


def gelu_mlp() -> nn.Module:
    """Two hidden layers of 64."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"gelu_mlp": gelu_mlp, "tiny_vit": TinyViT}


def fashion(directory: str | None) -> tuple[Tensor, Tensor]:
    """Return the first images (2000, 1, 28, 28) and labels."""
    with tempfile.TemporaryDirectory() as folder:
        archives = sources.archives("fashion_mnist")
        files = [Path(folder) / archive.name for archive in archives]
        for archive, file in zip(archives, files, strict=True):
            sources.fetch(archive, file, [directory] if directory else [])
        readers.decode("fashion_mnist", files, Path(folder))
        images = np.load(Path(folder) / "images.npy", allow_pickle=False)[:TRAINED]
        labels = np.load(Path(folder) / "labels.npy", allow_pickle=False)[:TRAINED]
    return torch.tensor(images / 255, dtype=torch.float32), torch.tensor(labels)


def trained(factory: Callable[[], nn.Module], x: Tensor, y: Tensor) -> nn.Module:
    """Train until most images are fitted."""
    torch.manual_seed(0)
    model = factory()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(EPOCHS):
        for i in torch.randperm(len(x)).split(50):
            optimiser.zero_grad()
            F.cross_entropy(model(x[i]), y[i]).backward()
            optimiser.step()
    return model.eval()


def seconds(works: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Processor times of pieces of work: medians over rounds of all, after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for i in range(ROUNDS + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if i:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def costs(model: nn.Module, x: Tensor, y: Tensor, operator: Operator) -> dict[str, float]:
    """Processor time of a gradient, and of each library's product, as it is fastest."""
    parameters = list(model.parameters())
    loss = nn.CrossEntropyLoss()
    v = [torch.randn_like(p) for p in parameters]
    flat = torch.cat([t.flatten() for t in v])
    with twice_differentiable(recurrent=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = pyhessian.hessian(model, loss, data=(x, y), cuda=False)
        eigenthings = hessian_eigenthings.HessianOperator(
            model, [(x, y)], lambda m, batch: loss(m(batch[0]), batch[1])
        )
        peer = curvlinops.HessianLinearOperator(
            model, loss, parameters, [(x, y)], check_deterministic=False
        )
        product = pyhessian.utils.hessian_vector_product
        found = seconds({
            "gradient": lambda: torch.autograd.grad(loss(model(x), y), parameters),
            "engine": lambda: operator(flat),
            "PyHessian": lambda: product(kept.gradsH, kept.params, v),
            "hessian-eigenthings": lambda: eigenthings.matvec(flat),
            "curvlinops": lambda: peer @ flat,
        })  # fmt: skip
    model.zero_grad(set_to_none=True)
    return found


def spectra(model: nn.Module, x: Tensor, y: Tensor, gradient: float) -> dict[str, Any]:
    """Find the largest eigenvalues by each library's rule, and a density of equal products.

    Costs are in gradients, everything included; errors are the largest of the eigenvalues'.
    hessian-eigenthings makes as many iterations as it is told; the fewest that are within 1% also.
    PyHessian's density calls ``torch.eig``, which torch has no more.
    """
    loss = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(0)

    def of_engine() -> Operator:
        return Operator(model, loss, (x, y))

    def of_eigenthings() -> Any:
        return hessian_eigenthings.HessianOperator(
            model, [(x, y)], lambda m, batch: loss(m(batch[0]), batch[1])
        )

    def of_pyhessian() -> Any:
        torch.manual_seed(0)
        return pyhessian.hessian(model, loss, data=(x, y), cuda=False)

    def ritz(tolerance: float) -> list[float]:
        operator = of_engine()
        start = operator.normal(generator)
        found = lanczos(operator, start, k=EIGENVALUES, tolerance=tolerance, max_iterations=300)
        return [value.estimate for value in found.eigenvalues]

    exact = sorted(ritz(1e-4), reverse=True)
    tolerance = Settings().tolerance

    def worst(values: list[float]) -> float:
        pairs = zip(sorted(values, reverse=True), exact, strict=True)
        return max(abs(a / b - 1) for a, b in pairs)

    def iterated(iterations: int | None) -> list[float]:
        return hessian_eigenthings.lanczos(
            of_eigenthings(), k=EIGENVALUES, max_iter=iterations, which="LA", seed=0
        ).eigenvalues.tolist()

    eigenvalues: dict[str, Callable[[], Any]] = {
        "engine": lambda: ritz(tolerance),
        "PyHessian": lambda: of_pyhessian().eigenvalues(top_n=EIGENVALUES)[0],
        "hessian-eigenthings, by defaults": lambda: iterated(None),
        "hessian-eigenthings, if it knew when to stop": lambda: iterated(enough),
    }
    densities: dict[str, Callable[[], Any]] = {
        "engine": lambda: density(of_engine(), generator, probes=STARTS, steps=STEPS),
        "hessian-eigenthings": lambda: hessian_eigenthings.spectral_density(
            of_eigenthings(), num_runs=STARTS, lanczos_steps=STEPS, seed=0
        ),
    }
    cost: dict[str, dict[str, float]] = {}
    errors = {}
    with twice_differentiable(recurrent=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enough = next(m for m in itertools.count(2 * EIGENVALUES) if worst(iterated(m)) <= ERROR)
        for what, works in (("five eigenvalues", eigenvalues), ("a density", densities)):
            cost[what] = {}
            for library, work in works.items():
                start = time.process_time()
                found = work()
                cost[what][library] = (time.process_time() - start) / gradient
                if works is eigenvalues:
                    errors[library] = worst(found)
    model.zero_grad(set_to_none=True)
    return {"gradients to": cost, "five eigenvalues: largest relative error": errors}


class _Duck:
    """Our operator as curvlinops' estimators want it."""

    def __init__(self, operator: Operator) -> None:
        self.operator, size = operator, operator.size
        self.shape, self.dtype, self.device = (size, size), operator.dtype, operator.device

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.operator(x.T.contiguous()).T if x.ndim > 1 else self.operator(x)


def needed(errors: dict[int, float]) -> float:
    """Products to 1%, by a line through two budgets' relative errors in logarithms."""
    budgets = sorted(errors)
    for one, two in itertools.pairwise(budgets):
        if errors[two] <= ERROR or two == budgets[-1]:
            slope = math.log(errors[two] / errors[one]) / math.log(two / one)
            # Beyond the last budget only the last third is sampled more.
            slope = min(slope, -0.5)
            return two * (ERROR / errors[two]) ** (1 / slope)
    return math.nan


def measured(name: str, x: Tensor, y: Tensor) -> dict[str, Any]:
    """All about one network."""
    model = trained(NETWORKS[name], x, y)
    x, y = x[:MEASURED], y[:MEASURED]
    loss = nn.CrossEntropyLoss()
    settings = Settings(estimator="engine")
    problem = Problem.of(model, loss, (x, y))
    parameters = list(model.parameters())
    ratios, traces, parts = [], [], []
    for seed in range(-1, RUNS):  # the first one warms up
        clocks = [time.process_time()]
        torch.autograd.grad(loss(model(x), y), parameters)
        torch.autograd.grad(loss(model(x), y), parameters)
        clocks.append(time.process_time())
        problem = Problem.of(model, loss, (x, y))
        generator = torch.Generator().manual_seed(max(seed, 0))
        passes = gauss_newton(problem, generator, settings)
        clocks.append(time.process_time())
        exact = float(passes.layers.sum())
        residual, _ = residual_traces(
            Operator.on(problem, "residual"), generator, exact,
            budget=settings.probes, relative_error=ERROR,
        )  # fmt: skip
        clocks.append(time.process_time())
        if seed >= 0:
            gradient, one, two = (b - a for a, b in itertools.pairwise(clocks))
            ratios.append((2 * one / gradient, 2 * two / gradient))
            traces.append((exact + residual.estimate, residual.stderr))
            parts.append(residual.estimate / (exact + residual.estimate))
    trace = statistics.mean(t for t, _ in traces)
    one, two = (statistics.median(part) for part in zip(*ratios, strict=True))

    operator = Operator.on(problem)
    cost = costs(model, x, y, operator)
    generator = torch.Generator().manual_seed(1)
    probes = operator.signs(generator, PROBES)
    forms = (probes * operator(probes)).sum(1, dtype=torch.float64)
    hutchinson = float(forms.var()) / (ERROR * trace) ** 2
    wrapped = hessian_eigenthings.LambdaOperator(
        operator, size=operator.size, device=operator.device, dtype=operator.dtype
    )
    hutchpp = {
        m: hessian_eigenthings.hutch_plus_plus(wrapped, num_matvecs=m, seed=0).stderr / trace
        for m in BUDGETS
    }
    xtrace = {}
    for m in BUDGETS:
        runs = []
        for seed in range(XTRACES):
            torch.manual_seed(seed)
            runs.append(float(curvlinops.xtrace(_Duck(operator), m)))
        xtrace[m] = math.sqrt(statistics.mean((run / trace - 1) ** 2 for run in runs))
    gradient = cost["gradient"]
    gradients = {
        "engine": one + two,
        "PyHessian": hutchinson * cost["PyHessian"] / gradient,
        "hessian-eigenthings, Hutch++": needed(hutchpp) * cost["hessian-eigenthings"] / gradient,
        "curvlinops, Hutch++": needed(hutchpp) * cost["curvlinops"] / gradient,
        "curvlinops, XTrace": needed(xtrace) * cost["curvlinops"] / gradient,
    }
    return {
        "machine": machine(packages=PEERS),
        "parameters": operator.size,
        "seconds per gradient": gradient,
        "trace": trace,
        "product, in gradients": {k: v / gradient for k, v in cost.items() if k != "gradient"},
        "relative standard error": {"Hutch++": hutchpp, "XTrace": xtrace},
        "engine's relative standard errors": [error / t for t, error in traces],
        "engine's spread over seeds": statistics.stdev(t for t, _ in traces) / trace,
        "products to 1%": {
            "Hutchinson": hutchinson,
            "Hutch++": needed(hutchpp),
            "XTrace": needed(xtrace),
        },
        "gradients to 1%": gradients,
        "engine: Gauss-Newton, and the residual": [one, two],
        "times fewer than": {
            peer: found / gradients["engine"]
            for peer, found in gradients.items()
            if peer != "engine"
        },
        **spectra(model, x, y, gradient),
    }


def of_peer(trace: Callable[[], tuple[float, float]]) -> list[float] | str:
    """Return a peer's trace and its standard error, or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(trace())
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:60]


def zoo(name: str) -> dict[str, Any]:
    """Measure one of the tests' networks, of every kind, with 12 samples, in float64."""
    net, loss, (x, y) = member(name)
    problem = Problem.of(net, loss, (x, y), dtype=torch.float64)
    start = time.process_time()
    found = estimate_of(problem, Settings(estimator="engine", dtype="float64"), seed=0).trace
    spent = time.process_time() - start
    twin = member(name)[0].double().eval()
    x, y = tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, (x, y))

    def mean_loss(*batch: Any) -> Tensor:
        return loss(*batch).mean()

    def hutchinson() -> tuple[float, float]:
        torch.manual_seed(0)
        matrix = pyhessian.hessian(twin, mean_loss, data=(x, y), cuda=False)
        probes = np.array([matrix.trace(maxIter=1)[0] for _ in range(ZOO_PRODUCTS)])
        return float(probes.mean()), float(probes.std(ddof=1) / math.sqrt(len(probes)))

    def hutchpp() -> tuple[float, float]:
        matrix = hessian_eigenthings.HessianOperator(
            twin, [(x, y)], lambda m, batch: mean_loss(m(batch[0]), batch[1])
        )
        found = hessian_eigenthings.hutch_plus_plus(matrix, num_matvecs=ZOO_PRODUCTS, seed=0)
        return found.estimate, found.stderr

    exact = exact_hessian(member(name)[0], loss, x, y, numerical=True)
    return {
        "parameters": problem.size,
        "exact": float(exact.trace()),
        "engine": [found.estimate, found.stderr],
        "passes": found.products,
        "seconds": spent,
        "PyHessian": of_peer(hutchinson),
        "hessian-eigenthings, Hutch++": of_peer(hutchpp),
    }


def zoo_table(rows: dict[str, dict[str, Any]]) -> str:
    """Write the table of these networks."""
    heads = ("network", *next(iter(rows.values())))
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, row in rows.items():
        cells = [
            f"{v[0]:.4g} ± {v[1]:.1g}" if isinstance(v, list) else shown(v) for v in row.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one of paths."""
    rows: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        rows |= flat(value, f"{path}: ") if isinstance(value, dict) else {path: value}
    return rows


def shown(value: Any) -> str:
    """Three digits."""
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", " ")


def markdown(found: dict[str, Any]) -> str:
    """Lay out what was found as a Markdown table."""
    names = [name for name in NETWORKS if name in found]
    tables = [flat(found[name]) for name in names]
    lines = [f"| {MEASURED} images, cross-entropy | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    lines += [
        f"| {key} | " + " | ".join(shown(table[key]) for table in tables) + " |"
        for key in tables[0]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the JSON file and the Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="a directory that has Fashion-MNIST's archives")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "smooth.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    x, y = fashion(arguments.data)
    for name in arguments.networks:
        found[name] = measured(name, x, y)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found["zoo"] = {name: zoo(name) for name in ZOO}
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = ROOT / "docs/curvature.md"
    text = page.read_text(encoding="utf-8")
    table = f"<!-- zoo -->\n{zoo_table(found['zoo'])}\n<!-- end -->"
    text = re.sub("<!-- zoo -->.*?<!-- end -->", lambda _: table, text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
    (RESULTS / "smooth.md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
