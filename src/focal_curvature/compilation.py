"""Models compiled for training, on the instruction set that torch's own kernels use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def compiled(model: nn.Module) -> nn.Module:
    """Compile a model, as deterministic as the process is told to be."""
    # Tells the compiler too, which `determinism.deterministic` does not.
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
    # Not for dynamic shapes: an epoch has two sizes of batches at most, compiled for each.
    return torch.compile(model, dynamic=False, options={"cpp.simdlen": _vector_bits()})


def _vector_bits() -> int:
    """Return the width that the compiler is told, of the vectors that torch's own kernels use.

    torch 2.11 keeps compiled code by its settings, which do not know ``ATEN_CPU_CAPABILITY``: it
    takes AVX-512's for AVX2's, and results are wrong without a word. This setting it knows.
    """
    widths = {"AVX2": 256, "AVX512": 512}
    return widths.get(torch.backends.cpu.get_cpu_capability(), 1)  # 1: none


def advised_not_to_compile(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a compiled forward pass that raises ValueError where this machine cannot compile."""
    from torch._dynamo.exc import TorchDynamoException  # seconds, which others need not pay

    def advised(images: Tensor) -> Tensor:
        try:
            return forward(images)
        except TorchDynamoException as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(
                f"training.compile: true is not possible here ({reason}): set it to false, or "
                "give torch.compile what it asks for (a C++ compiler, on a GPU Triton as well)"
            ) from error

    return advised
