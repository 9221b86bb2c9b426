"""What an experiment's results were made with, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What of a record says on which kind of machine it was made, and with which kernels.
MACHINE = ("system", "processor", "processor_id", "libc", "kernels", "cores", "device", "threads")


def provenance(
    runs: Sequence[Mapping[str, Any]],
    curvatures: Sequence[Mapping[str, Any]],
    dataset: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather the records of all runs.

    Parameters
    ----------
    runs, curvatures : sequence of mappings
        Contents of every ``run.json``, and of every ``curvature/objective.json`` and
        ``curvature/cross_entropy.json``; of a run of cross-entropy the second repeats the first,
        and says that this took no time.
    dataset : mapping
        Content of ``dataset.json``.

    Returns
    -------
    dict
        JSON-ready. Every distinct set of versions, commit, machine and device is listed: one of
        each means that all results come from the same software on the same kind of machine.
    """
    records = [*runs, *curvatures]

    def distinct(*keys: str) -> list[Any]:
        # Records made by an earlier version lack some keys.
        values = [{k: r.get(k) for k in keys} if len(keys) > 1 else r[keys[0]] for r in records]
        return [value for i, value in enumerate(values) if value not in values[:i]]

    return {
        "dataset": dataset,
        "runs": len(runs),
        "diverged": [run["run"] for run in runs if run["status"] != "completed"],
        "commits": distinct("commit"),
        "software": distinct("python", "packages"),
        "machines": distinct(*MACHINE),
        "training_seconds": round(sum(run["seconds"] for run in runs), 1),
        "curvature_seconds": round(sum(c["seconds"] for c in curvatures), 1),
        "peak_memory_mb": max(r["peak_memory_mb"] for r in records),
    }
