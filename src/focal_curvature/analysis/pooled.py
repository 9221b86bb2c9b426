"""One verdict per claim over all experiments: a random-effects meta-analysis.

An effect is that of one network on one data set, and effects differ among these: tau squared by
Paule and Mandel, standard error by Hartung, Knapp, Sidik and Jonkman, never below that without
their factor (Röver et al. 2015, doi 10.1186/s12874-015-0091-1), Student's t of one less than their
number. What is pooled is each test's parts, which are free of a data set's scale; where a claim
asks for several, it holds as far as the weakest does. Each part is pooled over the networks that
have it with a spread, of three at least; without one of them nothing is supported. Where
nothing is decided of the mean, and networks' own tests speak for and against, the verdict is mixed.
Runs that experiments share count once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from statsmodels.stats.meta_analysis import combine_effects

from focal_curvature.analysis.claims import FRAGILE, Test, drawn_twice, kinds, prepare
from focal_curvature.analysis.evidence import (
    CONTRADICTED,
    INCONCLUSIVE,
    MIXED,
    NEGLIGIBLE,
    NOT_TESTED,
    SIGNIFICANT,
    SUPPORTED,
    Evidence,
    Part,
    holm,
    mean_over_seeds,
    quantile,
)
from focal_curvature.analysis.questions import DECIDES
from focal_curvature.seeds import derive_seed

FEWEST = 3  # effects: with two, an interval is thirteen standard errors wide
KEYS = ["claim", "measure", "hessian_of", "outcome", "gamma"]
COLUMNS = [
    *("family", *KEYS, "says", "part", "estimate", "low", "high", "tau", "p", "p_holm"),
    *("p_data_sets", "effects", "networks_for", "networks_against", "data_sets", "seeds", "runs"),
    "verdict",
    *("replication", "leave_one_out", "fragile", "reason"),
]


@dataclass(frozen=True)
class Pooled:
    """A pooled effect: mean, standard error, 95% interval, spread between effects, p."""

    estimate: float
    error: float
    low: float
    high: float
    tau: float
    p: float


def pool(effects: Sequence[float], errors: Sequence[float]) -> Pooled:
    """Pool effects, given with their standard errors.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    if len(effects) < 2:
        raise ValueError(f"{len(effects)} effects cannot be pooled: at least 2")
    variances = np.square(errors)
    with np.errstate(divide="ignore"):  # of a description that effects all alike have not
        combined = combine_effects(np.asarray(effects, float), variances, method_re="iterated")
    mean = float(combined.mean_effect_re)
    error = float(max(combined.sd_eff_w_re_hksj, combined.sd_eff_w_re))
    freedom = len(effects) - 1
    half = quantile(0.975, freedom) * error
    p = 2 * float(special.stdtr(freedom, -abs(mean) / error))
    return Pooled(mean, error, mean - half, mean + half, float(max(combined.tau2, 0)) ** 0.5, p)


def sides_of(
    effects: Sequence[float], errors: Sequence[float], seeds: Sequence[int], alpha: float
) -> tuple[int, int]:
    """Count the networks whose own effect is above zero, and below: by t, after Holm over them."""
    effects = np.asarray(effects, float)
    p = 2 * special.stdtr(np.asarray(seeds) - 1, -np.abs(effects) / errors)
    told = holm(p) < alpha
    return int((told & (effects > 0)).sum()), int((told & (effects < 0)).sum())


def same_run(runs: pd.DataFrame) -> pd.Series:
    """Return a key that runs share which are one and the same.

    That is the column ``decided_by``. Tables older than it are told by a score, which all have: the
    same data set, model, objective and seed with the same ECE on the test split.
    """
    rounded = runs[["dataset", "model", "objective", "seed", "ece"]].round({"ece": 9})
    keys = ["|".join(map(str, row)) for row in rounded.itertuples(index=False)]
    scores = pd.Series(keys, runs.index)
    return runs["decided_by"].fillna(scores) if "decided_by" in runs else scores


def networks(
    experiments: Mapping[str, pd.DataFrame], alike: Sequence[Sequence[str]] = ()
) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Gather each network's runs: (data set, model, experiments) -> runs, every run once.

    Experiments' runs of a model on a data set are one network's if they share a run, as then they
    were trained alike; else they are two. Of an objective and seed that several have, the largest
    experiment's run counts.

    Parameters
    ----------
    experiments : mapping
        Name -> its runs, as in ``runs.csv``.
    alike : sequence of sequence of str
        Experiments whose models of a name were trained alike, where their tables cannot tell.
    """
    groups: list[tuple[str, str, set[str], list[tuple[str, pd.DataFrame]]]] = []
    for experiment, runs in sorted(experiments.items(), key=lambda item: -len(item[1])):
        told = {f"alike {i}" for i, names in enumerate(alike) if experiment in names}
        for (data_set, model), own in runs.groupby(["dataset", "model"], sort=False):
            keys = told | set(same_run(own[own["status"] == "completed"]))
            members = [(experiment, own)]
            apart = []
            for group in groups:
                if group[:2] == (data_set, model) and group[2] & keys:
                    keys, members = keys | group[2], [*group[3], *members]
                else:
                    apart.append(group)
            groups = [*apart, (data_set, model, keys, members)]
    found = {}
    order = list(experiments)
    groups.sort(key=lambda group: min(order.index(name) for name, _ in group[3]))
    for data_set, model, _, members in groups:
        every = pd.concat([own for _, own in members], ignore_index=True)
        names = "+".join(sorted(name for name, _ in members))
        found[data_set, model, names] = every.drop_duplicates(["objective", "seed"])
    return found


def made_from(claim: Mapping[str, Any], experiments: str) -> bool:
    """Whether a claim was made from a network's experiments, as `networks` names them.

    They are no test of it.
    """
    return not set(claim.get("found_in", ())).isdisjoint(experiments.split("+"))


@dataclass
class _Cell:
    """A network's tests."""

    data_set: str
    tests: dict[tuple, Test]


def _evidence(
    cells: Sequence[_Cell], seed: int, generator: np.random.Generator | None = None
) -> list[dict[tuple, dict[str, Part]]]:
    """Return each network's parts by question: of its seeds, or of seeds drawn from them."""
    evidences = []
    for cell in cells:
        fractions = None if generator is None else generator.random((2, 10_000))
        by_question = {}
        for key, test in cell.tests.items():
            picks = None if fractions is None else drawn_twice(fractions, test.data.seeds)
            evidence = test.evidence(picks, np.random.default_rng(seed))
            parts = evidence.parts if isinstance(evidence, Evidence) else ()
            # Without a spread, as where one seed is drawn throughout, there is no weight.
            if known := {part.name: part for part in parts if part.error > 0}:
                by_question[key] = known
        evidences.append(by_question)
    return evidences


def _decide(
    cells: Sequence[_Cell],
    evidences: Sequence[Mapping[tuple, Mapping[str, Part]]],
    rules: Mapping[str, Any],
) -> dict[tuple, dict[str, Any]]:
    """Return the pooled verdict on every question, with its numbers."""
    rows: dict[tuple, dict[str, Any]] = {}
    for key in dict.fromkeys(key for cell in cells for key in cell.tests):
        having = [
            (cell, by_question[key])
            for cell, by_question in zip(cells, evidences, strict=True)
            if key in by_question
        ]
        row: dict[str, Any] = {"p": np.nan}
        rows[key] = row
        # In the order of a network that has all of them.
        longest = sorted((parts for _, parts in having), key=len, reverse=True)
        of = {
            name: [(cell, parts[name]) for cell, parts in having if name in parts]
            for name in dict.fromkeys(name for parts in longest for name in parts)
        }
        enough = {name: members for name, members in of.items() if len(members) >= FEWEST}
        # Of the part that is shown.
        cells_of = [cell for cell, _ in next(iter(enough.values()), having)]
        row |= {
            "effects": len(cells_of),
            "data_sets": len({cell.data_set for cell in cells_of}),
            "seeds": sum(cell.tests[key].data.seeds for cell in cells_of),
            "runs": sum(cell.tests[key].data.runs for cell in cells_of),
        }
        row["lacking"] = [
            f"{name}: {len(members)} of {len(having)} networks"
            f"{', too few to pool' * (name not in enough)}"
            for name, members in of.items()
            if len(members) < len(having) or name not in enough
        ]
        if not having:
            row |= {"verdict": NOT_TESTED, "reason": "no network has such an effect to pool"}
            continue
        if not enough:
            row |= {"verdict": INCONCLUSIVE, "reason": f"{len(having)} effects, too few to pool"}
            continue
        parts = {
            name: pool(*np.array([(part.estimate, part.error) for _, part in members]).T)
            for name, members in enough.items()
        }
        name, first = next(iter(parts.items()))
        row["positive"] = len(enough) == len(of) and all(p.estimate > 0 for p in parts.values())
        weakest = max(parts, key=lambda name: (parts[name].p, -parts[name].estimate))
        row["failing"] = [name for name, part in parts.items() if part.high < 0]
        told = min(row["failing"], key=lambda name: parts[name].p, default=weakest)
        row |= {"part": name, "weakest": weakest if len(of) > 1 else ""}
        row |= {key: getattr(first, key) for key in ("estimate", "low", "high", "tau")}
        row |= {"p": parts[weakest].p, "p_data_sets": _of_data_sets(enough[told])}
        sides = {
            part: sides_of(
                [each.estimate for _, each in own],
                [each.error for _, each in own],
                [cell.tests[key].data.seeds for cell, _ in own],
                rules["alpha"],
            )
            for part, own in enough.items()
        }
        row |= dict(zip(("networks_for", "networks_against"), sides[name], strict=True))
        row["split"] = next((part for part, counts in sides.items() if all(counts)), "")
        row["least"] = _least(cells, key)
    for claim in {key[0] for key in rows}:
        keys = [key for key in rows if key[0] == claim]
        # Where not all conditions are as claimed, there is no p for them together.
        together = [
            1.0 if row.get("weakest") and not row["positive"] else row["p"]
            for row in map(rows.get, keys)
        ]
        for key, p in zip(keys, holm(together), strict=True):
            rows[key]["p_holm"] = p
    for row in rows.values():
        if "verdict" not in row:
            row |= dict(zip(("verdict", "reason"), _verdict(row, rules["alpha"]), strict=True))
            if row["weakest"] and not row["positive"]:
                row["p"] = row["p_holm"] = np.nan
    return rows


def _of_data_sets(members: Sequence[tuple[_Cell, Part]]) -> float:
    """Return the p of a part where each data set counts once, by the mean of its networks."""
    estimates: dict[str, list[float]] = {}
    for cell, part in members:
        estimates.setdefault(cell.data_set, []).append(part.estimate)
    return mean_over_seeds(np.array([np.mean(values) for values in estimates.values()])).p


def _least(cells: Sequence[_Cell], key: tuple) -> float:
    """Return a test's smallest effect where its part is on the scale that it is stated on."""
    question = next(cell.tests[key].question for cell in cells if key in cell.tests)
    return question.claim.get("smallest_effect", np.nan)


def _verdict(row: Mapping[str, Any], alpha: float) -> tuple[str, str]:
    least, lacking = row["least"], "".join(f"; {words}" for words in row["lacking"])
    if -least < row["low"] and row["high"] < least:
        return NEGLIGIBLE, "the interval holds no effect of the smallest size of interest"
    if row["p_holm"] < alpha and row["positive"]:
        return SUPPORTED, f"{SIGNIFICANT}{lacking}"
    if row["failing"]:
        return CONTRADICTED, f"the interval excludes it: {', '.join(row['failing'])}{lacking}"
    if row["high"] < least:
        return CONTRADICTED, "the interval excludes the smallest effect of interest"
    if row["split"]:
        return MIXED, f"networks disagree significantly: {row['split']}{lacking}"
    words = f"; least certain: {row['weakest']}" if row["weakest"] else ""
    return INCONCLUSIVE, f"not significant, and the interval is wide{words}{lacking}"


def judge(experiments: Mapping[str, pd.DataFrame], rules: Mapping[str, Any]) -> pd.DataFrame:
    """Pool every question that decides over the networks of all experiments.

    Parameters
    ----------
    experiments : mapping
        Name -> its runs, as in ``runs.csv``.
    rules : mapping
        Content of ``claims.yaml``.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, a row per question. ``estimate`` is the first part that the claim asks
        for, positive as claimed: a logarithm of a ratio, a correlation, a share above one half, or
        a gain relative to cross-entropy's own value (the smallest effect of interest, where that is
        larger); ``tau`` its spread over networks, and ``networks_for`` and ``networks_against`` are
        those whose own tests of it are significant, after Holm over networks. ``p_data_sets`` is
        the p of the part that decides where each data set counts once: networks on the same one
        are not independent.
        ``leave_one_out`` is the number of data sets without which the verdict is another one.
    """
    seed = derive_seed("pooled")
    known = kinds(rules)
    simple = {k: v for k, v in rules["claims"].items() if not known[v["test"]].combine}
    few = {**rules, "claims": simple, "resamples": rules["resamples_replicated"]}
    cells, asked = [], {}
    for (data_set, model, names), runs in networks(experiments, rules.get("alike", ())).items():
        tests = {}
        for test in prepare(runs.assign(model=model), few):
            question = test.question
            key = (question.name, *(getattr(question, name) for name in KEYS[1:]))
            if question.role != DECIDES or test.kind.source != "runs":
                continue
            asked[key] = question
            if test.data is not None and not made_from(question.claim, names):
                tests[key] = test
        cells.append(_Cell(data_set, tests))
    whole = _evidence(cells, seed)
    rows = _decide(cells, whole, rules)
    again = dict.fromkeys(rows, 0)
    for i in range(rules["replications"]):
        drawn = _evidence(cells, seed, np.random.default_rng([seed, i]))
        for key, row in _decide(cells, drawn, rules).items():
            again[key] += row["verdict"] == rows[key]["verdict"]
    changed = dict.fromkeys(rows, 0)
    for data_set in dict.fromkeys(cell.data_set for cell in cells):
        kept = [i for i, cell in enumerate(cells) if cell.data_set != data_set]
        fewer = _decide([cells[i] for i in kept], [whole[i] for i in kept], rules)
        for key in rows:
            changed[key] += fewer.get(key, {}).get("verdict") != rows[key]["verdict"]
    table = []
    for key, question in asked.items():
        row = rows.get(key) or {"verdict": NOT_TESTED, "reason": "no network has the runs for it"}
        decided = row["verdict"] != NOT_TESTED
        replication = again[key] / rules["replications"] if decided else np.nan
        gamma = "" if question.gamma is None else f"{question.gamma:g}"
        words = {"measure": question.measure_name, "outcome": question.outcome_name}
        table.append(
            dict.fromkeys(COLUMNS, np.nan)
            | dict(zip(KEYS, ("" if k is None else k for k in key), strict=True))
            | {"family": question.claim["family"], "part": "", "effects": 0, "data_sets": 0}
            | {"seeds": 0, "runs": 0}
            | {"says": question.claim["says"].format(**words, gamma=gamma)}
            | {name: row[name] for name in COLUMNS if name in row}
            | {"replication": replication, "leave_one_out": changed[key] if decided else np.nan}
            | {"fragile": bool(decided and (replication < FRAGILE or changed[key] > 0))}
        )
    return pd.DataFrame(table)[COLUMNS]


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the pooled verdicts out for print; "!" marks the fragile ones."""
    effect = [
        "" if np.isnan(row.estimate) else f"{row.estimate:+.3g} [{row.low:+.3g}, {row.high:+.3g}]"
        for row in table.itertuples()
    ]
    return pd.DataFrame(
        {
            "Claim": table["family"] + ": " + table["says"],
            "Hessian of": table["hessian_of"].str.replace("_", "-"),
            "Verdict": table["verdict"] + table["fragile"].map({True: " !", False: ""}),
            "Pooled": table["part"],
            "Effect, 95% interval": effect,
            "Spread": table["tau"].map(lambda tau: "" if np.isnan(tau) else f"{tau:.2g}"),
            "p (Holm)": table["p_holm"].map(lambda p: "" if np.isnan(p) else f"{p:.2g}"),
            "p (data sets)": table["p_data_sets"].map(lambda p: "" if np.isnan(p) else f"{p:.2g}"),
            "Replication": table["replication"].map(
                lambda r: "" if np.isnan(r) else f"{100 * r:.0f}%"
            ),
            "Networks": table["effects"],
            "For, against": [
                ""
                if np.isnan(row.networks_for)
                else f"{row.networks_for:g}, {row.networks_against:g}"
                for row in table.itertuples()
            ],
            "Data sets": table["data_sets"],
            "Runs": table["runs"],
            "Reason": table["reason"],
        }
    )
