"""The curvature of a trained run, under its own loss and under cross-entropy."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from focal_curvature import provenance
from focal_curvature.curvature import Settings, UnsupportedError
from focal_curvature.curvature.memory import estimate_within_memory
from focal_curvature.data.tensors import Split, Subset, halves
from focal_curvature.runs import CROSS_ENTROPY
from focal_curvature.seeds import derive_seed
from focal_curvature.settings.curvature import Curvature
from focal_curvature.trained import TrainedRun

logger = logging.getLogger(__name__)


def curvatures(
    run: TrainedRun, model: nn.Module, sample: Subset, settings: Curvature
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is meant ("objective", "cross_entropy") and its record; one loss is measured once.

    Parameters
    ----------
    run : TrainedRun
    model : nn.Module
        Its network, on the device of ``sample``.
    sample : Subset
    settings : Curvature
        With ``halves``, both halves of the sample are measured as well.

    Raises
    ------
    MemoryError
        As `focal_curvature.curvature.memory.estimate_within_memory`.
    """
    how = Settings.of(settings)
    parts = [("", sample.split)]
    if settings.halves:
        parts += zip(("half 1", "half 2"), halves(sample.split), strict=True)
    names = {"objective": run.spec.objective.base.slug, "cross_entropy": CROSS_ENTROPY.slug}
    results: dict[nn.Module, dict[str, Any]] = {}
    for kind, loss in run.losses().items():
        started = time.perf_counter()
        if run.completed and loss not in results:
            whole, *others = [
                _measure(
                    f"{run.spec.folder}, Hessian of {names[kind]} {part}".strip(),
                    (model, loss, split, how),
                    # With probes of their own, or halves would agree by these.
                    derive_seed("curvature", run.spec.model, run.spec.seed, *part.split()),
                )
                for part, split in parts
            ]
            results[loss] = whole | {"halves": others}
        yield (
            kind,
            {
                "run": run.spec.folder,
                "status": run.record["status"],
                "reason": run.record["reason"],
                "loss": names[kind],
                "split": settings.split,
                "samples_sha256": sample.sha256,
                "settings": asdict(how),
                **results.get(loss, {}),
                "weights_sha256": run.record["sha256"]["model.pt"],
                "device": provenance.device_name(sample.split.images.device),
                "threads": torch.get_num_threads(),
                "seconds": round(time.perf_counter() - started, 3),
                **provenance.collect(),
            },
        )


def _measure(
    name: str, of: tuple[nn.Module, nn.Module, Split, Settings], seed: int
) -> dict[str, Any]:
    """Estimate, and say so.

    A Hessian that is not finite, or that a network has none of, is a finding, not an end of the
    job: what else was measured is kept.
    """
    model, loss, split, how = of
    try:
        result, used = estimate_within_memory(model, loss, split.images, split.labels, how, seed)
    except (FloatingPointError, UnsupportedError) as error:
        logger.error("%s: %s", name, error)
        return {"status": "failed", "reason": str(error)}
    logger.info(
        "%s: top eigenvalue %.4g, trace %.4g +- %.2g",
        name,
        result.top_eigenvalue.estimate,
        result.trace.estimate,
        result.trace.stderr,
    )
    return {"status": "completed", "reason": None, **result.to_dict(), "settings": asdict(used)}
