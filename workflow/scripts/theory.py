"""Hold focal loss's bound and its curvature in the logits against the runs' own predictions."""

from pathlib import Path

import job
import numpy as np

from focal_curvature.analysis import logit_curvature, theory
from focal_curvature.files import read_json, verify, write_csv
from focal_curvature.runs import RunSpec
from focal_curvature.training.devices import deterministic

KEYS = ["model", "objective", "seed"]
COLUMNS = {
    "bound": [
        *(*KEYS, "trained_gamma", "gamma", "entropy", "samples", "holds", "largest_violation"),
        *("mean_slack", "focal", "cross_entropy", "entropy_mean"),
    ],
    "logit_curvature": [
        *(*KEYS, "gamma", "classes", "samples", "focal", "cross_entropy", "ratio", "negative"),
        "largest_deviation",
    ],
    "predictions": [
        *(*KEYS, "gamma", "classes", "log_odds", "ratio", "closed_form"),
        *("removed", "full", "true_class"),
    ],
}


def main(snakemake):
    settings = snakemake.params.settings
    deterministic(snakemake.threads)
    tables = {name: [] for name in COLUMNS}
    for logits_file, run_file in zip(snakemake.input.logits, snakemake.input.run, strict=True):
        run = read_json(Path(run_file))
        if run["status"] != "completed":
            continue
        verify(Path(logits_file), run["sha256"]["logits.npz"])
        with np.load(logits_file, allow_pickle=False) as arrays:
            logits, labels = arrays["test_logits"], arrays["test_labels"]
        spec = RunSpec.from_dict(run["spec"])
        own = spec.objective.gamma
        keys = {"model": spec.model, "objective": spec.objective.slug, "seed": spec.seed}
        gammas = sorted({own, *settings["gammas"]})
        rows = theory.bound(theory.describe(logits, labels), gammas)
        tables["bound"] += [keys | {"trained_gamma": own} | row for row in rows]
        if own:
            summary, points = logit_curvature.compare(logits, labels, own, settings["points"])
            keys |= {"gamma": own, "classes": logits.shape[1]}
            tables["logit_curvature"].append(keys | summary)
            if spec.seed == settings["seed"]:
                tables["predictions"] += [keys | point for point in points]
    for name, rows in tables.items():
        write_csv(Path(snakemake.output[name]), rows, COLUMNS[name])


if "snakemake" in globals():
    job.run(main, snakemake)
