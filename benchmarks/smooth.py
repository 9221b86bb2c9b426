"""Traces of trained networks that are not piecewise linear: what 1% costs, by library.

    PYTHONPATH=src python benchmarks/smooth.py [--data DIRECTORY] [--networks gelu_mlp tiny_vit]

Needs curvlinops-for-pytorch and hessian-eigenthings, and Fashion-MNIST's archives, which are
fetched unless a directory has them. Writes benchmarks/results/smooth.json and .md.

Costs are in gradients of the same samples, by processor time in one thread. What an estimator needs
to a standard error of 1% is read off its own standard errors: Hutchinson's from the spread of its
probes, Hutch++'s, at several budgets, from the spread of its last third, interpolated in logarithms
(and for XTrace from the spread of whole runs). Products are counted with our operator, which is the
same matrix, and timed with the library's own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
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
from torch import Tensor, nn
from torch.nn import functional as F

from focal_curvature.curvature import Operator, Problem, Settings
from focal_curvature.curvature.engine import gauss_newton
from focal_curvature.curvature.prepare import twice_differentiable
from focal_curvature.curvature.trace import residual_traces
from focal_curvature.data import readers, sources

RESULTS = Path(__file__).parent / "results"
TRAINED, MEASURED, EPOCHS, ERROR = 2000, 256, 15, 0.01
BUDGETS = (30, 90)  # products of Hutch++ and XTrace
PROBES, XTRACES = 40, 2


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


def seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """Processor time of a piece of work: the median, after a round that warms up."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


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
        found = {
            "gradient": seconds(lambda: torch.autograd.grad(loss(model(x), y), parameters)),
            "engine": seconds(lambda: operator(flat)),
            "PyHessian": seconds(lambda: product(kept.gradsH, kept.params, v)),
            "hessian-eigenthings": seconds(lambda: eigenthings.matvec(flat)),
            "curvlinops": seconds(lambda: peer @ flat),
        }
    model.zero_grad(set_to_none=True)
    return found


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
    times, traces = [], []
    for seed in range(3):
        start = time.process_time()
        problem = Problem.of(model, loss, (x, y))
        generator = torch.Generator().manual_seed(seed)
        passes = gauss_newton(problem, generator, settings)
        residual, _ = residual_traces(
            Operator.on(problem, "residual"), generator, float(passes.layers.sum()),
            budget=settings.probes, relative_error=ERROR,
        )  # fmt: skip
        times.append(time.process_time() - start)
        traces.append((float(passes.layers.sum()) + residual.estimate, residual.stderr))
    trace = statistics.mean(t for t, _ in traces)

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
    return {
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
        "gradients to 1%": {
            "engine": statistics.median(times) / gradient,
            "PyHessian": hutchinson * cost["PyHessian"] / gradient,
            "hessian-eigenthings, Hutch++": needed(hutchpp)
            * cost["hessian-eigenthings"]
            / gradient,
            "curvlinops, Hutch++": needed(hutchpp) * cost["curvlinops"] / gradient,
            "curvlinops, XTrace": needed(xtrace) * cost["curvlinops"] / gradient,
        },
    }


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
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
    names = [name for name in NETWORKS if name in found]
    tables = [flat(found[name]) for name in names]
    lines = [f"| {MEASURED} images, cross-entropy | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    lines += [
        f"| {key} | " + " | ".join(shown(table[key]) for table in tables) + " |"
        for key in tables[0]
    ]
    (RESULTS / "smooth.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
