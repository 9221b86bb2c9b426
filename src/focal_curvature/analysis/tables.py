"""One row per run: what was trained, how it scores, how curved the loss is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from focal_curvature.calibration import Fit, Scores
from focal_curvature.files import read_json, verify
from focal_curvature.runs import RunSpec

# Of a reliability table; its bins are of equal width, and a gap is a difference.
GATHERED = ("variant", "bin", "upper", "count", "confidence", "accuracy")
# Columns of a variant are its scores' names with this suffix.
VARIANTS = {"before": "", "after": "_scaled", "psi": "_psi"}

_SCORES = [field.name for field in fields(Scores)]
# A row has them all, or a table of diverged runs alone would lack columns that readers look for.
MEASURED = (
    *("test_samples", "temperature", "temperature_at_bound"),
    *(field.name for field in fields(Fit)),
    *_SCORES,
    *(f"{name}_scaled" for name in _SCORES),
    *(
        name.format(loss)
        for loss in ("objective", "cross_entropy")
        for name in (
            *("curvature_{}_reason", "top_eigenvalue_{}", "top_eigenvalue_{}_residual"),
            *("top_eigenvalue_{}_converged", "trace_{}", "trace_{}_stderr", "trace_{}_converged"),
            *("curvature_{}_seconds", "trace_gauss_newton_{}", "adaptive_sharpness_{}"),
        )
    ),
    *(f"{name}_psi" for name in _SCORES),
)


def decided_by(spec: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return a digest of what decides a run's weights: its specification, its data and splits."""
    text = json.dumps([spec, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_row(
    run: Mapping[str, Any],
    calibration: Mapping[str, Any],
    curvatures: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather one run's records into a flat row.

    Parameters
    ----------
    run, calibration : mapping
        Contents of ``run.json`` and ``calibration.json``.
    curvatures : mapping
        ``objective`` and ``cross_entropy`` -> content of the file of that name.

    Returns
    -------
    dict
        Scores of the test split (fractions, nats) as they are, ``_scaled`` after temperature
        scaling, ``_psi`` with focal loss's posterior map undone and with a recalibration's name
        after that; the fit to the training split; curvatures by the loss whose Hessian they are
        of, with ``_half1`` and ``_half2`` of disjoint halves of the sample where they were
        measured. ``strength`` is the first parameter of a regulariser or of a loss other than
        focal. None for what was not measured: scores and curvature of a diverged run; the numbers
        of an estimate that failed, whose reason is there.
    """
    spec = RunSpec.from_dict(run["spec"])
    added = spec.objective.regulariser
    row = {
        "run": run["run"],
        "decided_by": decided_by(run["spec"], run["inputs_sha256"]),
        "dataset": spec.dataset,
        "model": spec.model,
        "architecture": spec.architecture,
        "variant": spec.variant,
        "objective": spec.objective.slug,
        "is_plain": spec.objective.is_plain,
        "loss": "cross_entropy" if added and not spec.objective.gamma else spec.objective.name,
        "regulariser": added.name if added else None,
        "gamma": spec.objective.gamma,
        "strength": spec.objective.strength,
        "seed": spec.seed,
        "status": run["status"],
        "reason": run["reason"],
        "parameters": run["parameters"],
        "train_seconds": run["seconds"],
        **dict.fromkeys(MEASURED),
    }
    if run["status"] != "completed":
        return row
    row["test_samples"] = calibration["samples"]
    row |= {key: calibration[key] for key in ("temperature", "temperature_at_bound")}
    row |= calibration["fit"]
    for variant, suffix in VARIANTS.items():
        scores = calibration[variant] or {}
        row |= {f"{name}{suffix}": value for name, value in scores.items()}
    # Columns that are there where the configuration asks for them.
    for name, result in calibration["recalibrations"].items():
        row |= {f"{score}_{name}": value for score, value in result["scores"].items()}
        row[f"{name}_at_bound"] = result["at_bound"]
    for loss, curvature in curvatures.items():
        row[f"curvature_{loss}_reason"] = curvature["reason"]
        if curvature["status"] != "completed":
            continue
        row |= _estimates(curvature, loss) | {
            f"top_eigenvalue_{loss}_residual": curvature["top_eigenvalue"]["residual"],
            f"top_eigenvalue_{loss}_converged": curvature["top_eigenvalue"]["converged"],
            f"trace_{loss}_stderr": curvature["trace"]["stderr"],
            f"trace_{loss}_converged": curvature["trace"]["converged"],
            f"curvature_{loss}_seconds": curvature["seconds"],
        }
        for number, half in enumerate(curvature["halves"], start=1):
            if half["status"] == "completed":
                estimates = _estimates(half, loss)
                row |= {f"{name}_half{number}": value for name, value in estimates.items()}
    return row


def _estimates(curvature: Mapping[str, Any], loss: str) -> dict[str, float]:
    """Return what a measurement says of the loss's Hessian, by its column."""
    row = {
        f"top_eigenvalue_{loss}": curvature["top_eigenvalue"]["estimate"],
        f"trace_{loss}": curvature["trace"]["estimate"],
    }
    # None where the model is one that the pass for them cannot take.
    if curvature["gauss_newton"]:
        row[f"trace_gauss_newton_{loss}"] = curvature["gauss_newton"]["trace"]["estimate"]
        row[f"adaptive_sharpness_{loss}"] = curvature["adaptive_sharpness"]["estimate"]
    return row


def read(files: Mapping[str, Sequence[Path]], provenance: Path) -> dict[str, pd.DataFrame]:
    """Read tables by their names, each from one file or from one per model.

    Those whose SHA-256 the experiment's ``provenance.json`` records are held against it.

    Raises
    ------
    ValueError
        If it is another one: cut short at a line, it would still read as a table.
    """
    recorded = read_json(provenance)["sha256"]
    for file in (file for parts in files.values() for file in parts):
        if file.name in recorded:
            verify(file, recorded[file.name])
    return {name: read_all(parts) for name, parts in files.items()}


def read_all(files: Iterable[Path | str]) -> pd.DataFrame:
    """Read tables of the same columns as one; some may have no rows, as of runs that diverged."""
    tables = [pd.read_csv(file) for file in files]
    # A table without rows has no types of its own: it would make all columns objects.
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def reliability(files: Iterable[tuple[Mapping[str, Any], Path]]) -> pd.DataFrame:
    """Gather the per-bin tables of runs, each given as its row of the run table and its file.

    Of bins that hold samples, without what follows from the other columns. ``gamma`` is that of a
    focal loss alone.
    """
    keys = ("model", "objective", "gamma", "seed")
    bins = pd.concat(
        [
            pd.read_csv(file).assign(
                **{key: row[key] for key in keys if key != "gamma"},
                gamma=None if row["regulariser"] else row["gamma"],
            )
            for row, file in files
        ],
        ignore_index=True,
    )
    return bins.loc[bins["count"] > 0, [*keys, *GATHERED]]


def histories(runs: Iterable[tuple[Mapping[str, Any], Path]]) -> pd.DataFrame:
    """Gather the histories of runs, each given as its row of the run table and its file.

    Returns
    -------
    DataFrame
        ``model``, ``objective``, ``regulariser``, ``seed``, ``status`` and what ``history.csv``
        has: a row per evaluated epoch. A run that diverged before its first evaluation has one
        without an epoch.
    """
    keys = ["model", "objective", "regulariser", "seed", "status"]
    parts = [pd.DataFrame(columns=[*keys, "epoch"])]
    for row, file in runs:
        # Not even a header, if there was no evaluation.
        epochs = (
            pd.read_csv(file)
            if file.read_text(encoding="utf-8").strip()
            else pd.DataFrame({"epoch": [None]})
        )
        parts.append(epochs.assign(**{key: row[key] for key in keys}))
    table = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return table[[*keys, *table.columns.drop(keys)]]
