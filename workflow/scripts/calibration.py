"""Score the calibration of trained models from their logits."""

from dataclasses import asdict
from pathlib import Path

import job

from focal_curvature.calibration import fit, score
from focal_curvature.calibration.binning import RELIABILITY
from focal_curvature.files import sha256, write_csv, write_json
from focal_curvature.seeds import derive_seed
from focal_curvature.trained import TrainedRun


def main(snakemake):
    for run_file, scores_file, reliability_file in zip(
        snakemake.input.run, snakemake.output.scores, snakemake.output.reliability, strict=True
    ):
        run = TrainedRun(Path(run_file).parent)
        record = {"run": run.spec.folder, "status": run.record["status"]}
        rows = []
        if run.completed:
            arrays = run.logits()
            result = score(
                arrays["test_logits"],
                arrays["test_labels"],
                arrays["validation_logits"],
                arrays["validation_labels"],
                bins=snakemake.params.bins,
                gamma=run.spec.objective.gamma,
                recalibrations=snakemake.params.recalibrations,
                seed=derive_seed("noise floor", run.spec.seed),
            )
            splits = [arrays[f"{s}_{a}"] for s in ("train", "test") for a in ("logits", "labels")]
            record |= result.to_dict() | {"fit": asdict(fit(*splits))}
            rows = list(result.reliability)
        write_csv(Path(reliability_file), rows, columns=RELIABILITY)
        record["sha256"] = {"reliability.csv": sha256(Path(reliability_file))}
        write_json(Path(scores_file), record)


if "snakemake" in globals():
    job.run(main, snakemake)
