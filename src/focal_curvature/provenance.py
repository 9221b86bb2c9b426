"""Where a result comes from: versions, commit, machine, cost."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "PyHessian", "netcal", "snakemake")


def collect() -> dict[str, Any]:
    """Describe this process: Python and package versions, git commit, processor, peak memory.

    Returns
    -------
    dict
        JSON-ready. ``peak_memory_mb`` is the largest resident set so far, in MiB; ``commit`` ends
        in ``-dirty`` when tracked files other than figures differ from it and is None outside a
        checkout.
    """
    return {**_constants(), "peak_memory_mb": round(_peak_memory_mb(), 1)}


@cache
def _constants() -> dict[str, Any]:
    """Return what stays as it is while a process lives: a job may write many records."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of the checkout that a folder lies in, or None.

    It ends in ``-dirty`` when a tracked file differs from it, but for ``paper_figures/``, which the
    runs themselves write to.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)

    try:
        head = git("rev-parse", "HEAD")
    except OSError:
        return None
    if head.returncode:
        return None
    changed = git("diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)paper_figures").returncode
    return head.stdout.strip() + ("-dirty" if changed else "")


def device_name(device: torch.device) -> str:
    """Name a device: ``cpu``, or with its model ``cuda (NVIDIA H200)``."""
    if device.type != "cuda":
        return device.type
    import torch

    return f"cuda ({torch.cuda.get_device_name(device)})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
