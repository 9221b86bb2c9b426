"""What something costs against its size: curves within a budget of time, and their exponents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]


def curves(
    sizes: Sequence[int], cases: Mapping[str, Callable[[int], Mapping[str, Any]]], budget: float
) -> Iterator[dict[str, Any]]:
    """Measure cases at growing sizes, and leave out what would not end within the budget.

    Parameters
    ----------
    sizes : sequence of int
        In ascending order.
    cases : mapping
        Name -> what measures it at a size.
    budget : float
        Seconds for all. A case is taken to last in proportion to its size; at its first size it is
        measured in any case.

    Yields
    ------
    dict
        ``case``, ``size`` and what was measured.
    """
    end = time.monotonic() + budget
    took: dict[str, tuple[int, float]] = {}
    for size in sizes:
        for name, measure in cases.items():
            began = time.monotonic()
            known, seconds = took.get(name, (size, 0.0))
            if began + seconds * size / known < end or name not in took:
                yield {"case": name, "size": size, **measure(size)}
                took[name] = size, time.monotonic() - began


def exponents(rows: Rows, keys: Sequence[str]) -> dict[str, dict[str, float]]:
    """Fit powers of the size to the last decade of each case that has more than one there.

    Returns
    -------
    dict
        Case -> key -> exponent.
    """
    found = {}
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        last = [row for row in own if row["size"] * 10 >= max(row["size"] for row in own)]
        if len(last) > 1:
            sizes = np.log([row["size"] for row in last])
            found[case] = {
                key: round(float(np.polyfit(sizes, np.log([row[key] for row in last]), 1)[0]), 2)
                for key in keys
            }
    return found


def table(rows: Rows) -> str:
    """Lay rows of the same keys out in Markdown; nothing where there are none."""
    if not rows:
        return ""
    head = [
        f"| {' | '.join(key.replace('_', ' ') for key in rows[0])} |",
        f"|{'---|' * len(rows[0])}",
    ]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row.values()))} |" for row in rows)]) + "\n"
