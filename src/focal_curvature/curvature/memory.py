"""Estimates in whatever memory there is."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from focal_curvature.curvature import CurvatureResult, Settings, estimate
from focal_curvature.memory import out_of_memory

logger = logging.getLogger(__name__)


def estimate_within_memory(
    model: nn.Module,
    loss: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[CurvatureResult, dict[str, Any]]:
    """Estimate as `focal_curvature.curvature.estimate` does, in half the chunk when memory ends.

    The chunk bounds memory; the sums it cuts are the same up to rounding, and so is the result.

    Returns
    -------
    result : CurvatureResult
    settings : dict
        Those given, with the chunk that was used.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single sample at a time.
    """
    chunk = Settings.of(settings).chunk
    while True:
        used = {**settings, "chunk": chunk}
        try:
            return estimate(model, loss, inputs, labels, used, seed), used
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Here, not in the handler: the exception holds on to every tensor of the failed estimate.
        if chunk == 1:
            raise MemoryError(
                f"out of memory on {inputs.device} with curvature.chunk 1: lower "
                "curvature.samples, or use a device with more memory"
            )
        chunk = max(min(chunk, len(labels)) // 2, 1)
        logger.warning("out of memory on %s: curvature.chunk is now %d", inputs.device, chunk)
        gc.collect()
        if inputs.is_cuda:
            torch.cuda.empty_cache()
