"""As many random samples as a requested standard error takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

PILOT = 8


def adaptive(
    draw: Callable[[int], Tensor],
    *,
    budget: int,
    relative_error: float,
    offset: float = 0.0,
) -> Tensor:
    """Draw samples until the standard error of their mean is small enough, or the budget is spent.

    Parameters
    ----------
    draw : callable
        n -> (n, ...) independent samples; those of the quantity itself are the sums over the
        trailing dimensions.
    budget : int
        Most samples.
    relative_error : float
        Requested standard error over |offset + mean|.
    offset : float
        Exactly known part of the quantity.

    Notes
    -----
    After a pilot the number needed is computed from the spread so far and drawn at most at double
    the samples held, so that a lucky pilot can't end the run nor an unlucky one overrun it by much.
    """
    samples = draw(min(PILOT, budget))
    while len(samples) < budget:
        totals = samples.reshape(len(samples), -1).sum(1).double()
        target = relative_error * abs(offset + float(totals.mean()))
        needed = math.ceil(min(float(totals.var()) / target**2, budget)) if target else budget
        if needed <= len(samples):
            break
        samples = torch.cat([samples, draw(min(needed, 2 * len(samples), budget) - len(samples))])
    return samples
