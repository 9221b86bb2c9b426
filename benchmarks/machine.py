"""Describe what a benchmark's numbers depend on, and nothing that names the place."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from focal_curvature import provenance

PEERS = ("pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings")


def machine(device: str = "cpu", packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return processor, instruction sets, cores, load and versions; torch's once it is imported."""
    about, torch = provenance.collect(), sys.modules.get("torch")
    kernels = about["kernels"] or {}
    return {
        "cpu": about["processor"],
        "processor": about["processor_id"],
        "avx512f": "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split(),
        "torch's kernels": kernels.get("torch"),
        "oneDNN's kernels": kernels.get("onednn"),
        "gpu": torch.cuda.get_device_name() if torch and device == "cuda" else None,
        "cores": about["cores"],
        "threads used": torch.get_num_threads() if torch else None,
        "load average before": round(os.getloadavg()[0], 1),
        "python": about["python"],
        **{name: about["packages"][name] for name in ("torch", "snakemake")},
        **{name: version(name) for name in packages},
    }


def stated(about: dict[str, Any]) -> str:
    """Lay a description out as a line."""
    return ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
