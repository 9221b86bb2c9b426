"""Running out of memory: how to tell, on any device, and what to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Not every allocator has an exception of its own: torch on a CPU; oneDNN there, which does not say
# why; CUDA's calls and MPS; cuBLAS.
WORDS = (
    "can't allocate memory",
    "could not create a primitive",
    "out of memory",
    "ALLOC_FAILED",
    # Python, where memory ends as it reads a module: torch imports some in a backward pass.
    "without exception set",
    "without setting an exception",
)
FAILURES = (RuntimeError, MemoryError, SystemError)  # that may mean it


def out_of_memory(error: BaseException) -> bool:
    """Say whether an exception means that memory ran out."""
    if isinstance(error, RuntimeError | SystemError) and not isinstance(
        error, torch.OutOfMemoryError
    ):
        return any(words in str(error) for words in WORDS)
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


@contextmanager
def advise(message: str) -> Iterator[None]:
    """Replace whatever the body raises when memory runs out by a MemoryError with ``message``.

    Raises
    ------
    MemoryError
        If memory runs out.
    """
    try:
        yield
    except FAILURES as error:
        if not out_of_memory(error):
            raise
        raise MemoryError(message) from error
