"""Where a result comes from: versions, commit, machine, cost."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# What users and this workflow set to choose among the kernels of torch and numpy, and of what these
# and scipy are built on.
KERNEL_SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
)
# Settings under which CPUs with and without AVX-512 run the same kernels: torch's, and numpy's and
# scipy's (OpenBLAS). Read when these are imported or first compute, so they have to be in the
# environment before.
PORTABLE_KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # as numpy 2.4 names them
    "OPENBLAS_CORETYPE": "Haswell",
}
# oneDNN's instruction sets, each with what a processor needs for it beyond those before; by
# dnnl::cpu_isa, without AVX10, which no flag of /proc/cpuinfo names alike everywhere.
_ONEDNN = {
    "SSE41": {"sse4_1"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "AVX2_VNNI": {"avx_vnni"},
    "AVX512_CORE": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "AVX512_CORE_VNNI": {"avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16"},
    "AVX512_CORE_FP16": {"avx512_fp16"},
    "AVX512_CORE_AMX": {"amx_tile", "amx_int8", "amx_bf16"},
}

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "PyHessian", "netcal", "snakemake")


def collect() -> dict[str, Any]:
    """Describe this process: Python and package versions, git commit, processor, peak memory.

    Returns
    -------
    dict
        JSON-ready. ``peak_memory_mb`` is the largest resident set so far, in MiB; ``commit`` ends
        in ``-dirty`` when tracked files other than figures differ from it and is None outside a
        checkout. Two processes agree to the bit only where ``processor_id`` and ``kernels`` are the
        same; ``kernels`` is None in a process that has not imported torch.
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
        "processor": _cpuinfo().get("model name") or platform.processor(),
        "processor_id": processor_id(_cpuinfo()),
        "libc": " ".join(platform.libc_ver()),
        "kernels": kernels(),
        "cores": os.cpu_count(),
    }


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of the checkout that a folder lies in, or None.

    It ends in ``-dirty`` when a tracked file differs from it, but for ``paper_figures/``, which the
    runs themselves write to.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8"
        )

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


def kernels() -> dict[str, Any] | None:
    """Describe which kernels torch computes with on this CPU, or None where it is not imported.

    Returns
    -------
    dict
        ``torch`` and ``onednn``: the instruction sets of ATen's and of oneDNN's kernels; ``blas``;
        ``mkldnn``: whether oneDNN is used at all; ``settings``: the variables of the environment
        that choose among kernels, where they are set.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    built = torch.__config__.show()
    blas = re.search(r"Math Kernel Library Version ([\w.]+)", built)
    settings = {name: os.environ[name] for name in KERNEL_SETTINGS if name in os.environ}
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "onednn": onednn_isa(_cpuinfo().get("flags", "").split(), settings),
        "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "blas": f"MKL {blas[1]}" if blas else re.search(r"BLAS_INFO=(\w*)|$", built)[1],
        "settings": settings,
    }


def onednn_isa(flags: Iterable[str], settings: Mapping[str, str]) -> str | None:
    """Return the instruction set that oneDNN uses: the largest that there is and that is allowed.

    oneDNN says so itself only where ``ONEDNN_VERBOSE`` is set, on standard output.

    Parameters
    ----------
    flags : iterable of str
        The processor's, of ``/proc/cpuinfo``. Without any the answer is None.
    settings : mapping
        Variables of the environment.
    """
    most = settings.get("ONEDNN_MAX_CPU_ISA") or settings.get("DNNL_MAX_CPU_ISA", "")
    isa = None
    for name, needed in _ONEDNN.items():
        isa = name if needed <= set(flags) else isa
        if name == most.upper():
            break
    return isa


def processor_id(cpuinfo: Mapping[str, str]) -> str | None:
    """Return vendor, family and model, which tell processors of one name apart.

    Names do not: virtual machines call every generation "AMD EPYC".
    """
    if "vendor_id" not in cpuinfo:
        return None
    keys = {"family": "cpu family", "model": "model", "stepping": "stepping"}
    parts = [f"{word} {cpuinfo[key]}" for word, key in keys.items() if key in cpuinfo]
    return " ".join([cpuinfo["vendor_id"], *parts])


@cache
def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first processor; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
