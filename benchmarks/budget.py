"""Rounds of a measurement within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Iterator


def rounds(most: int, budget: float, least: int = 1) -> Iterator[int]:
    """Count rounds, and begin none that would not end within the budget at the pace so far.

    Parameters
    ----------
    most, least : int
        Of rounds; the least are made in any case.
    budget : float
        Seconds.
    """
    began = time.monotonic()
    for number in range(most):
        spent = time.monotonic() - began
        if number >= least and spent * (number + 1) / number > budget:
            return
        yield number
