"""What glibc's allocator does with memory that a process has freed."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1  # bytes, the largest that a C int says


def keep_freed_memory() -> bool:
    """Let this process use freed memory again, rather than have the system clear it anew.

    Each step of a training, or product with a Hessian, frees and takes the same tensors again:
    page faults are a tenth of its time on a CPU. No result depends on it. The process holds its
    peak of memory until it ends.

    Returns
    -------
    bool
        Whether the C library, glibc on Linux, has such a setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        [mallopt(_MMAP_THRESHOLD, _NEVER), mallopt(_TRIM_THRESHOLD, _NEVER)]
    )
