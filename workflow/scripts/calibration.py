"""Score the calibration of trained models from their logits."""

from pathlib import Path

import job
import numpy as np

from focal_curvature.calibration import score
from focal_curvature.files import read_json, sha256, verify, write_csv, write_json
from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed


def main(snakemake):
    for logits_file, run_file, scores_file, reliability_file in zip(
        snakemake.input.logits,
        snakemake.input.run,
        snakemake.output.scores,
        snakemake.output.reliability,
        strict=True,
    ):
        run = read_json(Path(run_file))
        spec = RunSpec.from_dict(run["spec"])
        record = {"run": spec.folder, "status": run["status"]}
        rows = []
        if run["status"] == "completed":
            verify(Path(logits_file), run["sha256"]["logits.npz"])
            with np.load(logits_file, allow_pickle=False) as arrays:
                result = score(
                    arrays["test_logits"],
                    arrays["test_labels"],
                    arrays["validation_logits"],
                    arrays["validation_labels"],
                    bins=snakemake.params.bins,
                    gamma=spec.objective.gamma,
                    seed=derive_seed("noise floor", spec.seed),
                )
            record |= result.to_dict()
            rows = list(result.reliability)
        write_csv(Path(reliability_file), rows, columns=RELIABILITY_COLUMNS)
        record["sha256"] = {"reliability.csv": sha256(Path(reliability_file))}
        write_json(Path(scores_file), record)


RELIABILITY_COLUMNS = ["variant", "bin", "lower", "upper", "count", "confidence", "accuracy", "gap"]

if "snakemake" in globals():
    job.run(main, snakemake)
