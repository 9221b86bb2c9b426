"""Hold the training loop against the field's plain loop and a bare one; ratios from one run.

    python benchmarks/training.py [--device cuda] [--only PART]

Writes benchmarks/results/training.json and .md (training_cuda.* for a GPU); with --only, replaces
that part of them. Processes of their own, alternating rounds within a budget of time, medians. The
three loops take the same steps: same network, loss, optimiser, batch size and kind of augmentation.
In the parts `compiled` and `mixed`, ours alone is compiled, and in mixed precision as well;
compilation itself is not counted.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budget import rounds
from digits_run import TRAINING, prepare  # puts this checkout's library on the path
from machine import machine, stated
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from focal_curvature.allocator import keep_freed_memory
from focal_curvature.data import tensors
from focal_curvature.data.augment import augment
from focal_curvature.determinism import deterministic
from focal_curvature.losses.focal import focal
from focal_curvature.models.cifar_resnet import resnet20
from focal_curvature.models.lenet import lenet
from focal_curvature.models.resnet import resnet18
from focal_curvature.models.vit import tiny_vit
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.training import loop

RESULTS = Path(__file__).parent / "results"
FASHION = Path("/usr/share/datasets/fashion-mnist")
# At most so many rounds of each measurement, as long as they end within so many seconds.
ROUNDS, BUDGET = 5, 45
WORKERS, BATCH, RATE, DECAY = 2, 128, 0.05, 5e-4
# Parts on the residual network: a name, threads of each loop, and settings that ours alone has.
RESNET = {
    "resnet": ("", 1, {}),
    # As on a machine of one's own: torch's default, which the loader's workers compete with.
    "threads": (", a thread per core", os.cpu_count(), {}),
    "compiled": (", ours compiled", 1, {"compile": True}),
    "mixed": (", ours in bfloat16 and compiled", 1, {"precision": "bfloat16", "compile": True}),
}


def fashion(count: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Fashion-MNIST's first training images (N, 28, 28) and labels; noise where it is not there."""
    if not FASHION.exists():
        return *noise(count, (28, 28)), "noise of the shape of Fashion-MNIST"
    parts = []
    for name, header in (("images-idx3", 16), ("labels-idx1", 8)):
        content = gzip.decompress((FASHION / f"train-{name}-ubyte.gz").read_bytes())
        parts.append(np.frombuffer(content, np.uint8, offset=header))
    return (
        parts[0].reshape(-1, 28, 28)[:count].copy(),
        parts[1][:count].astype(int),
        "Fashion-MNIST",
    )


def noise(count: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels: the time of a step does not depend on what they show."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, *shape), np.uint8), generator.integers(0, 10, count)


class Pictures(Dataset):
    """Images decoded and transformed one by one, as torchvision's data sets do."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:  # noqa: D105
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:  # noqa: D105
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def field_loop(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, policy: str, device: str
) -> Callable[[], None]:
    """Return an epoch of the loop that the field's repositories share, written afresh."""
    side, channels = images.shape[1], 3 if images.ndim == 4 else 1
    steps = [transforms.ToTensor(), transforms.Normalize([0.5] * channels, [0.25] * channels)]
    if policy == "crop-flip":
        steps = [
            transforms.RandomCrop(side, padding=side // 8),
            transforms.RandomHorizontalFlip(),
            *steps,
        ]
    loader = DataLoader(
        Pictures(images, labels, transforms.Compose(steps)),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        pin_memory=device == "cuda",
        persistent_workers=True,
    )
    loss = focal(2.0)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=DECAY)

    def epoch() -> None:
        total = 0.0
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            value = loss(model(inputs), targets).mean()
            value.backward()
            optimizer.step()
            total += value.item()

    return epoch


def bare_loop(
    model: nn.Module, images: Tensor, labels: Tensor, policy: str, device: str
) -> Callable[[], None]:
    """Return an epoch with nothing around its steps: the limit."""
    model = model.to(memory_format=torch.channels_last)
    loss = focal(2.0)
    optimizer = torch.optim.SGD(
        model.parameters(), RATE, momentum=0.9, weight_decay=DECAY, fused=True
    )
    generator = torch.Generator(device).manual_seed(0)

    def epoch() -> None:
        for batch in torch.randperm(len(labels)).to(device).split(BATCH):
            optimizer.zero_grad()
            inputs = augment(images[batch], policy, generator)
            loss(model(inputs), labels[batch]).mean().backward()
            optimizer.step()

    return epoch


def our_loop(
    factory: Callable[..., nn.Module],
    images: Tensor,
    labels: Tensor,
    policy: str,
    **training: Any,
) -> Callable[[], None]:
    """Return an epoch of the workflow's loop, its checks for divergence included."""
    shared = {"batch_size": BATCH, "augmentation": policy, "schedule": "constant"}
    settings = replace(TRAINING, **(shared | training))
    path = f"{factory.__module__}:{factory.__name__}"
    objective = Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2.0})
    spec = RunSpec("benchmark", "model", path, {}, objective, 0, settings)
    data = tensors.Tensors(
        {"train": tensors.Split(images, labels)},
        10,
        images.shape[1],
        images.shape[2],
        [0.5] * images.shape[1],
        [0.25] * images.shape[1],
    )
    ours = loop.Training([spec], data, bins=15)
    count = iter(range(10**6))
    return lambda: ours.train_epoch(next(count))


def timed(epoch: Callable[[], None], device: str) -> float:
    """Seconds of an epoch."""
    start = time.perf_counter()
    epoch()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def serve(name: str, connection: Connection, arguments: tuple, training: dict[str, Any]) -> None:
    """Build one of the loops in a process of its own; run an epoch when asked, and say its time.

    Ours keeps freed memory, as the workflow's jobs do; the others have the allocator as it is.
    """
    factory, images, labels, policy, device, threads = arguments
    deterministic(threads)
    if name == "ours":
        keep_freed_memory()
    torch.manual_seed(0)
    raw = images if images.ndim == 4 else images[..., None]
    model = factory(10, raw.shape[3], raw.shape[1]).to(device)
    if name == "field":
        epoch = field_loop(model, images, labels, policy, device)
    else:
        whole = torch.from_numpy(raw).permute(0, 3, 1, 2).to(device).float().div(255)
        whole, targets = whole.sub(0.5).div(0.25).contiguous(), torch.from_numpy(labels).to(device)
        if name == "ours":
            epoch = our_loop(factory, whole, targets, policy, **training)
        else:
            epoch = bare_loop(model, whole, targets, policy, device)
    while connection.recv():
        connection.send(timed(epoch, device))


def loops(
    factory: Callable[..., nn.Module],
    images: np.ndarray,
    labels: np.ndarray,
    policy: str,
    device: str,
    threads: int = 1,
    **training: Any,
) -> dict[str, Any]:
    """Images per second of the three loops, and their ratios; ``training`` is for ours alone."""
    context = multiprocessing.get_context("spawn")
    arguments = (factory, images, labels, policy, device, threads)
    connections, processes = {}, []
    for name in ("ours", "bare", "field"):
        connections[name], theirs = context.Pipe()
        process = context.Process(target=serve, args=(name, theirs, arguments, training))
        process.start()
        processes.append(process)

    def epoch(name: str) -> float:
        connections[name].send(True)
        return connections[name].recv()

    # The first round warms up: caches, compilation, and the loader's processes.
    times = [
        {name: epoch(name) for name in connections} for _ in rounds(ROUNDS + 1, BUDGET, least=2)
    ][1:]
    for connection, process in zip(connections.values(), processes, strict=True):
        connection.send(False)
        process.join()
    median = {name: statistics.median(r[name] for r in times) for name in connections}
    return {
        "images": len(labels),
        "augmentation": policy,
        "threads": threads,
        "images per second": {name: len(labels) / value for name, value in median.items()},
        "ours over bare": statistics.median(r["bare"] / r["ours"] for r in times),
        "ours over the field's": statistics.median(r["field"] / r["ours"] for r in times),
    }


def share_of_peak() -> dict[str, Any]:
    """Flop/s of ResNet-20's training steps, of both precisions, over a large matrix product's.

    Processor time of one thread. Only convolutions and matrix products count as work, two flops for
    a multiply-add, forwards and backwards.
    """
    count = 2 * BATCH
    pixels, labels = (torch.from_numpy(part) for part in noise(count, (3, 32, 32)))
    images = pixels.float().div(255).sub(0.5).div(0.25)
    factor = torch.rand(2048, 2048)
    with FlopCounterMode(display=False) as counter:
        resnet20(10, 3, 32)(images[:BATCH]).mean().backward()
    per_image = counter.get_total_flops() / BATCH
    work: dict[str, Callable[[], Any]] = {"matrix product": lambda: factor @ factor}
    flops = {"matrix product": 2 * len(factor) ** 3}
    for precision in ("float32", "bfloat16"):
        work[precision] = our_loop(resnet20, images, labels, "crop-flip", precision=precision)
        flops[precision] = count * per_image
    speeds = []
    for _ in rounds(ROUNDS + 1, BUDGET, least=2):  # the first one warms up
        rates = {}
        for name, call in work.items():
            start = time.process_time()
            call()
            rates[name] = flops[name] / (time.process_time() - start)
        speeds.append(rates)
    del speeds[0]
    return {
        "flops per image": per_image,
        "flop/s": {name: statistics.median(r[name] for r in speeds) for name in work},
        "share of the matrix product's": {
            name: statistics.median(r[name] / r["matrix product"] for r in speeds)
            for name in ("float32", "bfloat16")
        },
    }


def processes(folder: Path, model: str, jobs: list[list[int]]) -> float:
    """Seconds of jobs, each in a process of its own that trains the seeds named, two at a time."""
    script = Path(__file__).with_name("digits_run.py")
    start, waiting, running = time.perf_counter(), list(jobs), []
    while waiting or running:
        while waiting and len(running) < 2:
            command = [sys.executable, script, folder, model, *map(str, waiting.pop())]
            running.append(subprocess.Popen(command))
        time.sleep(0.02)
        if any(job.poll() not in (None, 0) for job in running):
            raise RuntimeError("a process failed")
        running = [job for job in running if job.poll() is None]
    return time.perf_counter() - start


def stacked_seeds(model: str) -> dict[str, Any]:
    """Measure runs per minute on two cores: one process per run, five seeds of a cell as one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        found = [
            {
                "one process per run": 4 * 60 / processes(folder, model, [[s] for s in range(4)]),
                "five seeds as one": 10 * 60 / processes(folder, model, [[*range(5)]] * 2),
            }
            for _ in rounds(3, BUDGET)
        ]
    return {
        "runs per minute": {k: statistics.median(r[k] for r in found) for k in found[0]},
        "stacked over single": statistics.median(
            r["five seeds as one"] / r["one process per run"] for r in found
        ),
    }


def shown(value: Any) -> str:
    """Three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def markdown(found: dict[str, Any]) -> str:
    """Lay out what was found as Markdown."""
    lines = [
        stated(found["machine"]),
        "",
        "| training loop | images per second: ours | bare loop | the field's |",
    ]
    lines[-1] += " ours / bare | ours / field's |"
    lines.append("|---|---|---|---|---|---|")
    for name, row in found["loops"].items():
        speeds = [shown(row["images per second"][key]) for key in ("ours", "bare", "field")]
        ratios = [shown(row[f"ours over {key}"]) for key in ("bare", "the field's")]
        lines.append(f"| {' | '.join([name, *speeds, *ratios])} |")
    if "stacked" in found:
        lines += [
            "",
            "| digits, two cores, start-up counted | runs per minute: one process per run",
        ]
        lines[-1] += " | five seeds as one | ratio |"
        lines.append("|---|---|---|---|")
        for name, row in found["stacked"].items():
            speeds = [shown(value) for value in row["runs per minute"].values()]
            lines.append(f"| {' | '.join([name, *speeds, shown(row['stacked over single'])])} |")
    if "peak" in found:
        peak = found["peak"]
        lines += ["", "| ResNet-20, one thread | Gflop/s | share of the matrix product's |"]
        lines.append("|---|---|---|")
        shares = {"matrix product": 1.0} | peak["share of the matrix product's"]
        for name, rate in peak["flop/s"].items():
            lines.append(f"| {name} | {shown(rate / 1e9)} | {shown(shares[name])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the JSON file and the Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", choices=["lenet", "vit", *RESNET, "stacked", "peak"])
    arguments = parser.parse_args()
    device, only = arguments.device, arguments.only
    deterministic(1)
    gpu = device == "cuda"
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / ("training_cuda" if gpu else "training")
    found: dict[str, Any] = {"machine": machine(device), "loops": {}}
    if only and stem.with_suffix(".json").exists():
        found = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    if only in (None, "lenet"):
        images, labels, name = fashion(20_000 if gpu else 2_000)
        found["loops"][f"LeNet, {name}"] = loops(lenet, images, labels, "none", device)
    kind = "noise of 3 x 32 x 32"
    if only in (None, "vit"):
        images, labels = noise(20_000 if gpu else 2_000, (32, 32, 3))
        found["loops"][f"tiny ViT, {kind}"] = loops(tiny_vit, images, labels, "crop-flip", device)
    name, factory, count = ("ResNet-18", resnet18, 5_000) if gpu else ("ResNet-20", resnet20, 512)
    images, labels = noise(count, (32, 32, 3))
    name = f"{name}, {kind}"
    for part, (text, threads, own) in RESNET.items():
        if only in (None, part):
            found["loops"][name + text] = loops(
                factory, images, labels, "crop-flip", device, threads, **own
            )
    if not gpu and only in (None, "stacked"):
        found["stacked"] = {m: stacked_seeds(m) for m in ("small_cnn", "small_resnet")}
    if not gpu and only in (None, "peak"):
        found["peak"] = share_of_peak()
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
