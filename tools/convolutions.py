"""Compare every convolution of every registered model with torch's native kernels.

At the shapes that the experiments use, alone and, where seeds are stacked, stacked; forward and
both backward passes. Cases run in processes of their own, so that a crash names one. Writes
docs/convolutions.csv, of this processor's own kernels and of those that it has with AVX2, for the
tables of docs/convolutions.md::

    python tools/convolutions.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from focal_curvature import registry  # noqa: E402  found by the path above

# Channels and side of the images of the data sets that the experiments use.
IMAGES: dict[str, tuple[int, int] | None] = {
    "digits": (1, 8),
    "fashion_mnist": (1, 28),
    "cifar10": (3, 32),
    "cifar10_jpeg": (3, 32),
    "cifar100": (3, 32),
    # numbers, which nothing convolves
    "letters": None,
    "satellite": None,
    "dna": None,
    "word_languages": None,
}
# What has a machine with AVX-512 behave as one without.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
BATCH = 4  # images of a comparison
STEP = 32  # images of the gradient whose time its own is held against
FILE = ROOT / "docs/convolutions.csv"


@dataclass(frozen=True)
class Case:
    """A model at the shape of an experiment; ``runs`` of it are stacked, or it is alone."""

    model: str
    arguments: str  # JSON
    channels: int
    size: int
    runs: int = 1

    def __str__(self) -> str:
        """Name the case as the table does."""
        arguments = "".join(f", {k} {v}" for k, v in json.loads(self.arguments).items())
        stacked = f", {self.runs} stacked" if self.runs > 1 else ""
        return f"{self.model}{arguments}, {self.channels} x {self.size} x {self.size}{stacked}"


def cases() -> list[Case]:
    """Return those of all configurations, and each other registered model with 32 x 32 images."""
    cases: dict[Case, None] = {}
    for file in (ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))):
        cases |= dict.fromkeys(_of(yaml.safe_load(file.read_text(encoding="utf-8"))))
    used = {case.model for case in cases}
    others = (Case(name, "{}", 3, 32) for name in registry.names("models") if name not in used)
    return [*cases, *others]


def _of(config: Mapping[str, Any]) -> Iterator[Case]:
    shape = IMAGES[config["data"]["name"]]
    for model, settings in config["models"].items() if shape else ():
        arguments = json.dumps((settings or {}).get("arguments", {}))
        yield Case(model, arguments, *shape)
        if config["training"].get("stacked"):
            yield Case(model, arguments, *shape, len(config["seeds"]))


def compare(case: Case, gradients: int) -> dict[str, Any]:
    """Compare all convolutions of a gradient, of a small network's second derivatives too.

    Parameters
    ----------
    case : Case
    gradients : int
        How many are timed, which takes most of a large network's time.

    Returns
    -------
    dict
        ``comparisons``, a list of dict; ``second``, whether those of second derivatives are among
        them; ``check_seconds`` that this took with one thread, and ``step_seconds`` of a gradient
        on `STEP` images per network, None if none is timed.
    """
    import torch
    from torch.nn import functional as F

    from focal_curvature.kernels import require_native_gradient
    from focal_curvature.stack import Stack

    torch.set_num_threads(1)
    torch.manual_seed(0)
    factory = registry.resolve(registry.import_path("models", case.model))
    arguments = json.loads(case.arguments)
    networks = [factory(10, case.channels, case.size, **arguments) for _ in range(case.runs)]
    networks = Stack(networks)
    images = torch.randn(STEP, case.runs, case.channels, case.size, case.size)
    labels = torch.arange(STEP)[:, None].expand(-1, case.runs) % 10
    second = sum(p.numel() for p in networks.model.parameters()) < 1e6

    def loss(size: int) -> torch.Tensor:
        return F.cross_entropy(networks(images[:size]).flatten(0, 1), labels[:size].flatten())

    start = time.perf_counter()
    comparisons = require_native_gradient(
        networks.model, lambda: loss(BATCH), second=second, known=set()
    )
    check = time.perf_counter() - start
    steps = []
    for _ in range(gradients):
        start = time.perf_counter()
        loss(STEP).backward()
        steps.append(time.perf_counter() - start)
    return {
        **{"comparisons": [asdict(comparison) for comparison in comparisons], "second": second},
        **{"check_seconds": check, "step_seconds": min(steps, default=None)},
    }


def in_a_process(
    several: Sequence[Case], environment: Mapping[str, str], gradients: int = 0
) -> dict[Case, dict[str, Any]]:
    """Compare cases one after the other in another process.

    Raises
    ------
    RuntimeError
        If the process fails, or crashes; names the case.
    """
    done = subprocess.run(
        [sys.executable, __file__, json.dumps([asdict(case) for case in several]), str(gradients)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    found = list(map(json.loads, done.stdout.splitlines()))
    if done.returncode:
        case = several[min(len(found), len(several) - 1)]  # some crash as they end
        raise RuntimeError(f"{case}: exit status {done.returncode}\n{done.stderr}")
    return dict(zip(several, found, strict=True))


def table() -> Iterator[dict[str, Any]]:
    """Yield a row per case and set of instructions: the largest error of each kind of result."""
    import torch

    own = torch.backends.cpu.get_cpu_capability()
    for case in cases():
        for name, environment in ((own, {}), ("limited to AVX2", AVX2)):
            found = in_a_process([case], environment, gradients=3)[case]
            comparisons = found.pop("comparisons")
            errors = {
                kind: max((c["error"] for c in comparisons if c["result"] == kind), default=None)
                for kind in ("output", "input", "weight", "bias")
            }
            convolutions = sum(c["result"] == "output" for c in comparisons)
            print(f"{case}, {name}: {convolutions} convolutions", flush=True)
            row = {"model": str(case), "instructions": name, "convolutions": convolutions}
            yield row | errors | found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for fields in json.loads(sys.argv[1]):
            print(json.dumps(compare(Case(**fields), int(sys.argv[2]))), flush=True)
    else:
        pd.DataFrame(table()).to_csv(FILE, index=False, float_format="%.3g")
