"""Estimates in whatever memory there is."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from focal_curvature.curvature import CurvatureResult, Settings, estimate
from focal_curvature.memory import FAILURES, out_of_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


def within_memory(
    attempt: Callable[[int], T],
    chunk: int,
    samples: int,
    device: torch.device,
    setting: str = "curvature.samples",
) -> tuple[T, int]:
    """Call ``attempt(chunk)``, again with half the chunk whenever memory ends.

    Parameters
    ----------
    attempt : callable
        What needs the memory.
    chunk : int
        Samples at a time, at first.
    samples : int
        How many there are at all.
    device : torch.device
        Whose memory it is.
    setting : str
        The key of the configuration that says how many samples there are.

    Returns
    -------
    result : object
        Of ``attempt``.
    chunk : int
        That was used.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single sample at a time.
    """
    while True:
        try:
            return attempt(chunk), chunk
        except FAILURES as error:
            if not out_of_memory(error):
                raise
        # Here, not in the handler: the exception holds on to every tensor of the failed attempt.
        if chunk == 1:
            raise MemoryError(
                f"out of memory on {device} with one sample at a time: lower "
                f"{setting}, or use a device with more memory"
            )
        chunk = max(min(chunk, samples) // 2, 1)
        logger.warning("out of memory on %s: the chunk is now %d", device, chunk)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def estimate_within_memory(
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings,
    seed: int,
) -> tuple[CurvatureResult, Settings]:
    """Estimate as `focal_curvature.curvature.estimate` does, in half the chunk when memory ends.

    The chunk bounds memory; the sums it cuts are the same up to rounding, and so is the result.

    Returns
    -------
    result : CurvatureResult
    settings : Settings
        Those given, with the chunk that was used.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single sample at a time.
    """
    result, chunk = within_memory(
        lambda chunk: estimate(model, loss, inputs, labels, replace(settings, chunk=chunk), seed),
        settings.chunk,
        len(inputs),
        inputs.device,
    )
    return result, replace(settings, chunk=chunk)
