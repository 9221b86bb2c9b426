"""Columns of ``runs.csv``: what each is called and means, and all of them as compact text."""

from __future__ import annotations

import base64
import inspect
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

import pandas as pd

from focal_curvature.calibration import Fit, Scores
from focal_curvature.registry import label

DIGITS = 3  # significant ones, of what is drawn; the files have all

RUN, CURVATURE = "Run and fit", "Curvature: "
SCORES = "Scores, as trained"
# Suffix of a column -> its group, and what is added to the name.
SUFFIXES = {
    "_scaled": ("Scores, temperature-scaled", "after temperature scaling"),
    "_psi": ("Scores, Ψ undone", "with focal loss's posterior map undone"),
    "_objective": (f"{CURVATURE}training objective", "of the training objective"),
    "_cross_entropy": (f"{CURVATURE}cross-entropy", "of cross-entropy at the same weights"),
}
NAMES = {
    "gamma": "γ",
    "strength": "strength",
    "train_seconds": "training time (s)",
    "train_nll": "NLL on the training split",
    "train_accuracy": "accuracy on the training split",
    "test_samples": "test samples",
    "temperature": "fitted temperature",
    "logit_norm": "norm of the logits",
    "accuracy": "accuracy",
    "ece": "ECE",
    "mce": "maximum calibration error",
    "nll": "NLL",
    "brier": "Brier score",
    "adaptive_ece": "adaptive ECE",
    "classwise_ece": "classwise ECE",
    "smooth_ece": "SmoothECE",
    "noise_floor": "ECE floor, mean",
    "noise_floor_95": "ECE floor, 95% quantile",
    "nll_refinement": "refinement part of the NLL",
    "nll_calibration": "calibration part of the NLL",
    "confidence_gap": "confidence minus accuracy",
    "calibration_error_debiased": "squared calibration error",
    "top_eigenvalue": "top eigenvalue of the Hessian",
    "trace": "trace of the Hessian",
    "trace_gauss_newton": "Gauss-Newton trace",
}
MEANINGS = {
    "gamma": "Focusing parameter of focal loss; 0 is cross-entropy.",
    "strength": "First parameter of a regulariser, or of a loss other than focal.",
    "train_seconds": "Shared machines, several jobs at a time.",
    "temperature": "Fitted on the validation split; above 1 is over-confident.",
    "noise_floor": "Mean ECE that perfectly calibrated predictions of these confidences score.",
    "trace_gauss_newton": "The part of the Hessian that the loss's curvature in the logits makes.",
    "adaptive_sharpness": "Gauss-Newton trace with each weight's part times the weight squared.",
}
# How well a number was measured, and measurements of halves of the sample.
LEFT_OUT = re.compile(r"_(residual|stderr|converged|half[12]|at_bound|seconds)$(?<!train_seconds)")


@cache
def documented() -> dict[str, str]:
    """Return what the docstrings of ``Scores`` and ``Fit`` say, by attribute."""
    entry = re.compile(r"^(\w[\w, ]*) : float\n((?:    .*\n?)+)", re.MULTILINE)
    return {
        name: " ".join(lines.split())
        for documented in (Scores, Fit)
        for names, lines in entry.findall(inspect.getdoc(documented))
        for name in names.split(", ")
    }


def describe(column: str) -> tuple[str, str, str]:
    """Return a column's group, its name, and what it means, empty if the name says it."""
    suffix = next((s for s in SUFFIXES if column.endswith(s)), "")
    base = column.removesuffix(suffix)
    group, added = SUFFIXES.get(suffix, (RUN, ""))
    if not suffix and base in {each.name for each in fields(Scores)}:
        group = SCORES
    name = NAMES.get(base, base.replace("_", " "))
    meaning = MEANINGS.get(base) or documented().get(base, "")
    return group, f"{name} {added}".strip(), meaning


def arm(run: Mapping[str, Any]) -> str:
    """Return what a run's objective has in common with those of other parameters, in words."""
    loss = run["loss"]
    if loss == "focal" and run["gamma"] == 0:
        loss = "cross_entropy"
    name = "cross-entropy" if loss == "cross_entropy" else label(loss)
    added = run.get("regulariser")
    return name if added is None or pd.isna(added) else f"{label(added)} on {name}"


def pack(runs: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return all experiments' runs as columns, JSON-ready.

    Returns
    -------
    dict
        ``kinds``: what tells runs apart, each with its ``label``, ``levels`` as in files, their
        ``names``, and ``codes``, a position in them per run. ``numbers``: a list of columns that
        vary, each with ``key``, ``group``, ``label``, ``means`` and ``values``, of `DIGITS`
        significant digits, None where there is none. ``seed`` is among them.
    """
    parts = [
        t.assign(experiment=name, arm=[arm(run) for run in t.to_dict("records")])
        for name, t in runs.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    labels = {
        "experiment": "experiment",
        "dataset": "data set",
        "model": "network",
        "arm": "objective",
        "objective": "objective with its parameters",
        "status": "status",
    }
    kinds = {}
    for key, text in labels.items():
        codes, levels = pd.factorize(table[key])
        names = [label(level) if key == "model" else level for level in levels]
        kinds[key] = {"label": text, "levels": list(levels), "names": names} | {
            "codes": codes.tolist()
        }
    numbers = []
    for column in table.select_dtypes("number"):
        values = table[column]
        if LEFT_OUT.search(column) or (values.nunique() < 2 and column != "seed"):
            continue
        group, name, meaning = describe(column)
        rounded = [None if pd.isna(v) else float(f"{v:.{DIGITS}g}") for v in values]
        numbers.append(
            {"key": column, "group": group, "label": name, "means": meaning}
            | {"values": [int(v) if v is not None and v.is_integer() else v for v in rounded]}
        )
    return {"kinds": kinds, "numbers": numbers}


def compress(content: Any) -> str:
    """Return JSON-ready content as base64 of zlib's deflate format."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
