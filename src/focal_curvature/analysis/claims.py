"""Verdicts on claims, by the same rules everywhere; ``workflow/claims.yaml`` states them.

Sentences are made from verdicts alone, and so are no stronger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from focal_curvature.analysis.evidence import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    SUPPORTED,
    TESTS,
    count,
    holm,
)
from focal_curvature.seeds import derive_seed

ALL = "all models"

HESSIANS = {"objective": "the training objective", "cross_entropy": "cross-entropy"}
WORDS = {
    SUPPORTED: "the data support that",
    CONTRADICTED: "the data contradict that",
    INCONCLUSIVE: "the data do not settle whether",
    NOT_TESTED: "it was not tested whether",
}
STATISTICS = {
    "trend": "Spearman correlation with gamma",
    "association": "Spearman correlation of curvature and ECE",
    "two_lines": "slope of the line that speaks less for a U",
    "intervention": "difference of ECE to cross-entropy, same seeds",
}
COLUMNS = [
    *("claim", "family", "says", "hessian_of", "model", "statistic", "estimate", "low", "high"),
    *("effect", "p", "p_holm", "seeds", "runs", "verdict", "reason", "sentence"),
]


def judge(runs: pd.DataFrame, rules: Mapping[str, Any], experiment: str) -> pd.DataFrame:
    """Test every claim on an experiment.

    Parameters
    ----------
    runs : DataFrame
        One row per run, as in ``runs.csv``.
    rules : mapping
        Content of ``claims.yaml``.
    experiment : str
        Its name, for the sentences and the seeds of the resampling.

    Returns
    -------
    DataFrame
        Columns ``COLUMNS``, a row per claim, Hessian and model and one for all models together.
        ECE is a fraction, correlations are between -1 and 1; numbers that there are not are NaN.
        ``effect`` is the estimate with its 95% interval as text, empty where there is none.
    """
    cells, evidence = [], []
    for name, claim in rules["claims"].items():
        for hessian in claim["hessian_of"]:
            together = claim.get("within") is not None
            parts = [(ALL, runs)] if together else runs.groupby("model", sort=False)
            for model, part in parts:
                seed = derive_seed("claims", experiment, name, hessian, model)
                cells.append({"claim": name, "hessian_of": hessian, "model": model})
                evidence.append(TESTS[claim["test"]](part, claim, hessian, rules, seed))
    table = pd.DataFrame(cells).assign(
        **{k: [getattr(e, k) for e in evidence] for k in ("estimate", "low", "high", "p")},
        **{k: [getattr(e, k) for e in evidence] for k in ("seeds", "runs")},
        family=[rules["claims"][cell["claim"]]["family"] for cell in cells],
    )
    table["p_holm"] = table.groupby("family")["p"].transform(holm)
    chosen = [
        e.significant if e.significant and p < rules["alpha"] else e.otherwise
        for e, p in zip(evidence, table["p_holm"], strict=True)
    ]
    table["verdict"], table["reason"] = zip(*chosen, strict=True)
    table = _with_all_models(table, rules, runs["model"].nunique())
    claims = [rules["claims"][name] for name in table["claim"]]
    table["says"] = [claim["says"] for claim in claims]
    table["statistic"] = [STATISTICS[claim["test"]] for claim in claims]
    table["effect"] = [_effect(row) for row in table.to_dict("records")]
    table["sentence"] = [_sentence(row, experiment) for row in table.to_dict("records")]
    return table[COLUMNS]


def _effect(row: Mapping[str, Any]) -> str:
    """Write a row's estimate and interval: a correlation, or a difference in points of ECE."""
    numbers = [row["estimate"], row["low"], row["high"]]
    if np.isnan(numbers).any():
        return ""
    if row["statistic"].startswith("Spearman"):
        return "ρ {:+.2f} [{:+.2f}, {:+.2f}]".format(*numbers)
    return "{:+.1f} [{:+.1f}, {:+.1f}] points".format(*(100 * n for n in numbers))


def to_json(table: pd.DataFrame, rules: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """Return a JSON-ready description: the experiment, the rules' numbers, a mapping per row."""
    rows = []
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        low, high = row.pop("low"), row.pop("high")
        rows.append(row | {"interval": None if low is None else [low, high]})
    numbers = {key: value for key, value in rules.items() if key != "claims"}
    return {"experiment": experiment, "rules": numbers, "claims": rows}


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the verdicts out for print."""
    return pd.DataFrame(
        {
            "Claim": table["family"] + ": " + table["says"],
            "Hessian of": table["hessian_of"].map(HESSIANS),
            "Model": table["model"],
            "Verdict": table["verdict"],
            "Effect, 95% interval": table["effect"],
            "p (Holm)": table["p_holm"].map(lambda p: "" if np.isnan(p) else _p(p)),
            "Seeds": table["seeds"],
            "Runs": table["runs"],
            "Reason": table["reason"],
        }
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _sentence(row: Mapping[str, Any], experiment: str) -> str:
    numbers = f" ({row['effect']}, p after Holm {_p(row['p_holm'])})" if row["effect"] else ""
    return (
        f"{experiment}, {row['model']}, Hessian of {HESSIANS[row['hessian_of']]}: "
        f"{WORDS[row['verdict']]} {row['says']}{numbers}: {row['reason']}; "
        f"{row['seeds']} seeds, {row['runs']} runs."
    )


def _with_all_models(table: pd.DataFrame, rules: Mapping[str, Any], models: int) -> pd.DataFrame:
    """Add each claim's verdict for all models, where the test itself is not of them together."""
    groups = []
    for (claim, hessian), own in table.groupby(["claim", "hessian_of"], sort=False):
        if list(own["model"]) != [ALL]:
            verdict, reason = _general(own)
            overall = {
                **{"claim": claim, "hessian_of": hessian, "model": ALL},
                **{"family": own["family"].iloc[0], "verdict": verdict, "reason": reason},
                **{"seeds": int(own["seeds"].min()), "runs": int(own["runs"].sum())},
            }
            own = pd.concat([own, pd.DataFrame([overall])], ignore_index=True)
        last = own.index[-1]
        if own.loc[last, "verdict"] == SUPPORTED and models < rules["minimum_models"]:
            own.loc[last, ["verdict", "reason"]] = [
                INCONCLUSIVE,
                f"supported, but of {count(models, 'model')} where {rules['minimum_models']} "
                "are needed to speak of architectures",
            ]
        groups.append(own)
    return pd.concat(groups, ignore_index=True)


def _general(own: pd.DataFrame) -> tuple[str, str]:
    """Return the verdict for all models from those of each."""
    verdicts = own["verdict"]
    reason = "; ".join(f"{row.model} {row.verdict}" for row in own.itertuples())
    if (verdicts == NOT_TESTED).all():
        return NOT_TESTED, "; ".join(own["reason"].unique())
    if (verdicts == CONTRADICTED).any():
        return CONTRADICTED, reason
    return (SUPPORTED if (verdicts == SUPPORTED).all() else INCONCLUSIVE), reason
