"""The calibration of a trained run, from its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from focal_curvature.calibration import fit, score
from focal_curvature.calibration.binning import RELIABILITY
from focal_curvature.files import sha256, write_csv, write_json
from focal_curvature.seeds import derive_seed
from focal_curvature.trained import TrainedRun


def write(
    run: TrainedRun,
    scores_file: Path,
    reliability_file: Path,
    *,
    bins: int,
    recalibrations: Sequence[str],
) -> None:
    """Score a run and write the scores (JSON) and the bins of its reliability diagram (CSV).

    A run that diverged has no scores and no bins. Parameters are those of
    `focal_curvature.calibration.score`.
    """
    record = {"run": run.spec.folder, "status": run.record["status"]}
    rows = []
    if run.completed:
        arrays = run.logits()
        result = score(
            arrays["test_logits"],
            arrays["test_labels"],
            arrays["validation_logits"],
            arrays["validation_labels"],
            bins=bins,
            gamma=run.spec.objective.gamma,
            recalibrations=recalibrations,
            seed=derive_seed("noise floor", run.spec.seed),
        )
        splits = [arrays[f"{s}_{a}"] for s in ("train", "test") for a in ("logits", "labels")]
        record |= result.to_dict() | {"fit": asdict(fit(*splits))}
        rows = list(result.reliability)
    write_csv(reliability_file, rows, columns=RELIABILITY)
    record["sha256"] = {"reliability.csv": sha256(reliability_file)}
    write_json(scores_file, record)
