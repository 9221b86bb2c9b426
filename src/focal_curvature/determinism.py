"""Devices and determinism."""

from __future__ import annotations

import os

import torch


def choose_device(name: str) -> torch.device:
    """Return the torch device of a configuration's ``device``; auto is cuda where there is one.

    Raises
    ------
    ValueError
        If the device is asked for by name and this machine has none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if available else "cpu"
    elif name == "cuda" and not available:
        raise ValueError(f"device: {name} is not available on this machine: use auto or cpu")
    return torch.device(name)


def deterministic(threads: int) -> None:
    """Make this process's results repeatable to the bit on the same machine and versions.

    Parameters
    ----------
    threads : int
        CPU threads of an operation. Sums depend on it, so that it is part of what is repeated.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by cuBLAS
    torch.set_num_threads(threads)
    # As torch.use_deterministic_algorithms(True), which imports the compiler to tell it: a second
    # of each process. Where training is compiled, that is made up for.
    torch.set_deterministic_debug_mode("error")
    # Filling all new memory, lest a read of what was never written differ: a fifth of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
