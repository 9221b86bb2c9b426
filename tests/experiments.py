"""Small made-up experiments on disk, as ``paper_figures/<experiment>/`` holds real ones."""

import json
import math

import pandas as pd
from PIL import Image

PROVENANCE = {
    "dataset": {
        "name": "made_up",
        "shape": [10, 1, 8, 8],
        "sources": [{"name": "made_up.csv", "sha256": "0" * 64}],
    },
    "runs": 4,
    "diverged": ["cnn/focal-9/seed0"],
    "commits": ["0123456789abcdef"],
    "software": [{"python": "3.11.7", "packages": {"torch": "2.11.0"}}],
    "machines": [
        {"system": "Linux", "processor": "A", "cores": 2, "device": "cpu", "threads": 1},
    ],
    "training_seconds": 12.5,
    "curvature_seconds": 2.5,
    "peak_memory_mb": 600.1,
}


def claim(model, verdict, estimate=None):
    number = estimate is not None
    return {
        **{"claim": "c1", "family": "C1", "says": "the trace falls", "hessian_of": "objective"},
        **{"measure": "trace", "outcome": "", "gamma": None, "unit": "ρ", "null": 0.0},
        **{"model": model, "statistic": "Spearman correlation", "estimate": estimate},
        **{"effect": f"ρ {estimate:+.2f} [-1.00, +1.00]" if number else "", "p": estimate},
        **{"p_holm": 0.5 if number else None, "seeds": 2, "runs": 4, "verdict": verdict},
        **{"reason": "so it is", "sentence": "", "interval": [-1, 1] if number else None},
        **{"replication": 0.75 if number else None, "fragile": number},
    }


def summary(model, ece):
    """Return summary rows of one model; ``ece`` maps objective and gamma to the mean ECE."""
    return [
        {"model": model, "objective": objective, "gamma": gamma, "metric": metric}
        | {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "n": 2}
        for (objective, gamma), mean in ece.items()
        for metric, mean in {"accuracy": 0.9, "ece": mean}.items()
    ]


def write(folder, rows, claims):
    """Write an experiment with one figure; return its folder."""
    (folder / "tables").mkdir(parents=True)
    runs = [
        {"dataset": "made_up", "model": row["model"], "objective": row["objective"]}
        | {"loss": "cross_entropy" if math.isnan(row["gamma"]) else "focal"}
        | {"regulariser": "sam" if math.isnan(row["gamma"]) else None}
        | {"gamma": row["gamma"], "seed": seed, "status": "completed"}
        | {"ece": row["mean"] * (1 + 0.01 * seed), "accuracy": 0.9 + 0.01 * seed}
        | {"trace_objective": 100 * row["mean"] ** 2, "trace_cross_entropy": 2 + seed}
        for row in rows
        if row["metric"] == "ece"
        for seed in range(2)
    ]
    pd.DataFrame(runs).to_csv(folder / "runs.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "tables/summary.csv", index=False)
    rules = {"alpha": 0.05}
    content = {"experiment": folder.name, "rules": rules, "claims": claims}
    (folder / "claims.json").write_text(json.dumps(content))
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    Image.new("RGB", (30, 20)).save(folder / "ece.png")
    return folder
