"""The answer, in the words that README and page share; made from pooled verdicts alone."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

# Family of claims and Hessian, empty for both -> what they say; Markdown's asterisks for stress.
FAMILIES = {
    ("C1", "objective"): "curvature falls as γ grows, Hessian of the loss that is trained",
    ("C1", "cross_entropy"): "the same, Hessian of cross-entropy at the same weights",
    ("C2", ""): "curvature and calibration error go together, with a best level",
    ("C3", ""): "penalising the trace improves calibration",
    ("C4", ""): "focal loss calibrates *because* it flattens",
    ("C5", ""): "instead (ours): it does so by its own map of posteriors, the weights as they are",
}
# Whose Hessian a verdict is about, in few words.
HESSIANS = {"objective": "own loss", "cross_entropy": "cross-entropy", "": "–"}
# Key in claims.yaml -> what its tests are about; they differ in the measure and in the outcome.
CLAIMS = {
    "c1_ratio": "curvature is lower at γ = 3 than at 0",
    "c1_trend": "curvature falls from γ = 0 to 5",
    "c2_both_move": "they move together over γ",
    "c2_within_gamma": "they go together at equal γ",
    "c2_best_gamma": "a γ between is best",
    "c2_best_strength_gauss_newton": "a strength of the Gauss-Newton penalty between is best",
    "c2_best_strength_hessian": "a strength of the Hessian penalty between is best",
    "c3_gauss_newton_trace": "a penalty on the Gauss-Newton trace calibrates",
    "c3_hessian_trace": "a penalty on the Hessian's trace calibrates",
    "c4_direct": "a penalty of equal curvature does over half of what γ = 3 does",
    "c4_mediation": "over half of what γ = 3 does goes through curvature",
    "c4_rivals": "over half of what γ = 3 does goes through a rival of curvature",
    "c4_function_kept": "calibration follows curvature where the function is kept",
    "c4_temperature": "calibration follows curvature where logits are divided by a temperature",
    "c4_because": "γ = 3 calibrates because it flattens: equal curvature, mediation, function kept",
    "c5_map": "over half of what γ = 3 does is undone with its own map, the weights kept",
}


# What the headline's two shares of gamma's effect on confidence are of: claim, measure, Hessian.
RIVALS = (("c5_map", "", ""), ("c4_direct", "trace", "objective"))
HEADLINE = (
    "Focal loss is least where predictions are less certain than the posterior, by a map without "
    "parameters. With that map undone, weights and their curvature kept, {} of what γ = 3 does to "
    "confidence is gone; a penalty that flattens as much does {} of it."
)


def headline(pooled: pd.DataFrame) -> tuple[str, str]:
    """Return an answer in a word, and the shares that gamma's map and flattening have, in words.

    Parameters
    ----------
    pooled : DataFrame
        ``docs/pooled.csv``.

    Returns
    -------
    str
        *No* where the map's share is supported, and no verdict that focal loss calibrates because
        it flattens is; else empty.
    str
        Empty where one of the two was not pooled.
    """
    keys = ["claim", "measure", "hessian_of"]
    shares = pooled[
        (pooled["outcome"] == "confidence_gap") & pooled["part"].fillna("").str.startswith("share")
    ].fillna(dict.fromkeys(keys, ""))
    said = []
    for about in RIVALS:
        rows = shares[(shares[keys] == list(about)).all(axis=1)]
        if rows.empty:
            return "", ""
        row = rows.iloc[0]
        share, low, high = (50 + 100 * row[key] for key in ("estimate", "low", "high"))
        said.append(f"{share:.0f}% [{low:.0f}, {high:.0f}; {row['effects']} networks]")
    supported = set(pooled.loc[pooled["verdict"] == "supported", "family"])
    no = "No." if "C5" in supported and "C4" not in supported else ""
    return no, HEADLINE.format(*said)


def bullets(pooled: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield each family of claims, what it says, and the count of its verdicts in words.

    Parameters
    ----------
    pooled : DataFrame
        ``docs/pooled.csv``.
    """
    for (family, hessian), title in FAMILIES.items():
        rows = pooled[pooled["family"] == family]
        rows = rows[rows["hessian_of"] == hessian] if hessian else rows
        tested = rows[rows["verdict"] != "not tested"]
        counts = tested["verdict"].value_counts()
        said = ", ".join(f"{verdict} {n}" for verdict, n in counts.items())
        said = f"{said} of {len(tested)}" if said else "not tested on the pooled data yet"
        yield family, title, said
