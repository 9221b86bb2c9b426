"""Verdicts on claims, by the same rules everywhere; ``workflow/claims.yaml`` states them.

Sentences are made from verdicts alone, and so are no stronger.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from focal_curvature import registry
from focal_curvature.analysis.evidence import (
    CONTRADICTED,
    DESCRIBED,
    INCONCLUSIVE,
    MIXED,
    NEGLIGIBLE,
    NOT_TESTED,
    SUPPORTED,
    Data,
    Evidence,
    NotTestedError,
    UndecidedError,
    decide,
    holm,
    together,
)
from focal_curvature.analysis.questions import BESIDE, DECIDES, Kind, Question, questions
from focal_curvature.seeds import derive_seed

ALL = "all models"

HESSIANS = {"objective": "the training objective", "cross_entropy": "cross-entropy"}
WORDS = {
    SUPPORTED: "the data support that",
    CONTRADICTED: "the data contradict that",
    NEGLIGIBLE: "the data show no effect worth the name, where it is claimed that",
    MIXED: "the models disagree whether",
    INCONCLUSIVE: "the data do not settle whether",
    NOT_TESTED: "it was not tested whether",
    DESCRIBED: "beside what decides, whether",
}
COLUMNS = [
    *("claim", "family", "role", "says", "measure", "hessian_of", "outcome", "gamma", "model"),
    *("statistic", "unit", "estimate", "low", "high", "null", "effect", "p", "p_holm"),
    *("seeds", "runs", "verdict", "replication", "leave_one_out", "fragile", "reason"),
    "sentence",
]
FRAGILE = 0.8  # replication probability below which a verdict is marked


@dataclass
class Test:
    """A question put to one model's runs: its data, or the verdict without any."""

    question: Question
    kind: Kind
    model: str
    data: Data | None = None
    refusal: tuple[str, str] | None = None

    def evidence(self, picks: np.ndarray | None, generator: np.random.Generator) -> Evidence | str:
        """Return the evidence in all seeds, or in some; a text if there is none."""
        data = self.data
        if picks is not None and data.resampled:
            data = data.take(picks)
        try:
            return self.kind.evidence(data, self.question, generator)
        except UndecidedError as error:
            return str(error)


def kinds(rules: Mapping[str, Any]) -> dict[str, Kind]:
    """Return the kinds of test that the rules name."""
    names = {claim["test"] for claim in rules["claims"].values()}
    return {name: registry.resolve(registry.import_path("claim_tests", name))() for name in names}


def prepare(
    runs: pd.DataFrame, rules: Mapping[str, Any], controls: pd.DataFrame | None = None
) -> list[Test]:
    """Put every question to every model.

    Questions of the kinds that combine verdicts are left out: they have no data.
    """
    known = kinds(rules)
    models = list(runs["model"].unique())
    tables = {"runs": runs, "controls": pd.DataFrame() if controls is None else controls}
    parts = {
        (source, model): table[table["model"] == model] if len(table) else table
        for source, table in tables.items()
        for model in models
    }
    tests = []
    for name, claim in rules["claims"].items():
        kind = known[claim["test"]]
        if kind.combine:
            continue
        for question in questions(name, rules):
            for model in models:
                test = Test(question, kind, model)
                try:
                    test.data = kind.data(parts[kind.source, model], question)
                except NotTestedError as error:
                    test.refusal = NOT_TESTED, str(error)
                tests.append(test)
    # What is beside is of no interest where there is none.
    return [t for t in tests if t.question.role == DECIDES or not t.refusal]


def _key(question: Question) -> tuple:
    return (
        *(question.name, question.measure, question.hessian_of, question.outcome),
        *(question.gamma, question.role),
    )


@dataclass
class Judgement:
    """The verdict on a test or on all models, with the evidence where there is any."""

    verdict: str
    reason: str
    evidence: Evidence | None = None
    p_holm: float = np.nan


Judgements = dict[tuple, Judgement]  # (question's key, model) -> its judgement


def evaluate(
    tests: Sequence[Test],
    rules: Mapping[str, Any],
    seed: int,
    picks: Mapping[str, Callable[[int], np.ndarray | None]] | None = None,
) -> Judgements:
    """Judge all tests, the claims that combine them, and all models together.

    Parameters
    ----------
    tests : sequence of Test
    rules : mapping
    seed : int
        Of permutations and parametric bootstraps; the order of tests is of no matter.
    picks : mapping, optional
        Model -> function of the number of its seeds that returns the positions to take; all of them
        where there is none, or where it returns None.
    """
    evidences: list[Evidence | str | None] = [None] * len(tests)
    # Model after model, so that what is kept of one's data serves all questions to it.
    for i, test in sorted(enumerate(tests), key=lambda each: each[1].model):
        if test.refusal:
            continue
        drawn = None
        if picks is not None:
            drawn = picks[test.model](test.data.seeds)
        generator = np.random.default_rng(seed)
        evidences[i] = test.evidence(drawn, generator)
    p = np.array([e.p if isinstance(e, Evidence) else np.nan for e in evidences])
    adjusted = np.full(len(p), np.nan)
    claims = np.array([test.question.name for test in tests])
    deciding = np.array([test.question.role == DECIDES for test in tests])
    for claim in np.unique(claims):
        members = (claims == claim) & deciding
        adjusted[members] = holm(p[members])
    judgements: Judgements = {}
    for test, evidence, p_holm in zip(tests, evidences, adjusted, strict=True):
        question = test.question
        if evidence is None:
            judgement = Judgement(*test.refusal)
        elif isinstance(evidence, str):
            judgement = Judgement(INCONCLUSIVE, evidence)
        else:
            verdict, reason = decide(
                evidence, question.direction, question.smallest, p_holm, rules["alpha"]
            )
            notes = [reason, evidence.remark, test.data.note]
            if question.role == BESIDE:
                notes = notes[1:]
            judgement = Judgement(verdict, "; ".join(filter(None, notes)), evidence, p_holm)
        if question.role == BESIDE:
            judgement.verdict = DESCRIBED
        judgements[_key(question), test.model] = judgement
    models = list(dict.fromkeys(test.model for test in tests))
    _combine(judgements, rules, models)
    for key in dict.fromkeys(key for key, _ in judgements):
        members = {m: judgements[key, m] for m in models if (key, m) in judgements}
        verdicts = {model: judgement.verdict for model, judgement in members.items()}
        verdict, reason = together(verdicts, rules["minimum_models"])
        if verdict == NOT_TESTED:
            reason = "; ".join(dict.fromkeys(judgement.reason for judgement in members.values()))
        judgements[key, ALL] = Judgement(verdict, reason)
    return judgements


def _combine(judgements: Judgements, rules: Mapping[str, Any], models: Sequence[str]) -> None:
    known = kinds(rules)
    combined = [name for name, c in rules["claims"].items() if known[c["test"]].combine]
    # By what a claim is looked up with, since a search of all for each would be quadratic.
    decided = defaultdict(list)
    for (key, model), judgement in judgements.items() if combined else ():
        claim, measure, hessian_of, outcome, gamma, role = key
        if role == DECIDES:
            decided[claim, model, measure, hessian_of].append((outcome, gamma, judgement.verdict))
    for name in combined:
        claim = rules["claims"][name]
        for question in questions(name, rules):
            about = question.measure, question.hessian_of
            for model in models:
                verdicts = {
                    role: _verdict_on(question, decided[other, model, *about])
                    for role, other in claim["of"].items()
                }
                verdict, reason = known[claim["test"]].combine(verdicts)
                judgements[_key(question), model] = Judgement(verdict, reason)
                decided[name, model, *about].append((question.outcome, question.gamma, verdict))


def _verdict_on(question: Question, verdicts: Iterable[tuple]) -> str:
    """Return the first verdict of (outcome, gamma, verdict) that is on the question's own."""
    for outcome, gamma, verdict in verdicts:
        # Interventions on trained networks have neither this outcome nor a gamma.
        if gamma is None or (outcome, gamma) == (question.outcome, question.gamma):
            return verdict
    return NOT_TESTED


def _draws(rules: Mapping[str, Any], models: Sequence[str], seed: int) -> Iterator[dict]:
    """Yield, for each bootstrap sample, model -> function that picks positions of so many seeds.

    A model's tests draw the same seeds where they have the same ones; models are independent.
    """
    for i in range(rules["replications"]):
        generator = np.random.default_rng([seed, i])
        fractions = {model: generator.random((2, 10_000)) for model in models}
        yield {m: partial(drawn_twice, f) for m, f in fractions.items()}


def drawn_twice(fractions: np.ndarray, seeds: int) -> np.ndarray:
    """Return positions of seeds drawn from seeds that were themselves drawn, with replacement.

    The first draw stands for what the data leave open of the truth, the second for new seeds under
    it. One draw alone takes the data's estimate for the truth, and promises too much.
    """
    first, second = (fractions[:, :seeds] * seeds).astype(int)
    return first[second]


def _omissions(tests: Sequence[Test], models: Sequence[str]) -> Iterator[dict]:
    """Yield, for each position, model -> function that leaves the seed at the position out."""
    most = max((test.data.seeds for test in tests if test.data), default=0)
    for i in range(most):
        yield {m: (lambda n, i=i: np.delete(np.arange(n), i) if i < n else None) for m in models}


def replicate(
    tests: Sequence[Test],
    rules: Mapping[str, Any],
    seed: int,
    judgements: Judgements,
    processes: int = 1,
) -> dict[tuple, tuple[float, int]]:
    """Return how often new seeds give each verdict again, and how many single seeds change it.

    The first is a bootstrap over seeds of the whole decision, corrections included; the second
    leaves one seed out at a time. The samples are shared out among processes, which changes no
    result.
    """
    verdicts = {key: judgement.verdict for key, judgement in judgements.items()}
    tests = [test for test in tests if test.question.role == DECIDES]
    count = partial(_repeated, tests, rules, seed, verdicts, processes)
    if processes == 1:
        parts = [count(0)]
    else:
        with ProcessPoolExecutor(processes, None, _end_with, [os.getpid()]) as pool:
            parts = list(pool.map(count, range(processes)))
    again, changed = (sum(counts, Counter()) for counts in zip(*parts, strict=True))
    return {key: (again[key] / rules["replications"], changed[key]) for key in judgements}


def _end_with(parent: int) -> None:
    """Let this process end soon after its parent, which may be killed before it can see to that."""

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _repeated(
    tests: Sequence[Test],
    rules: Mapping[str, Any],
    seed: int,
    verdicts: Mapping[tuple, str],
    parts: int,
    part: int,
) -> tuple[Counter, Counter]:
    """Count verdicts that samples of one part repeat, and those that omissions of it change."""
    fewer = {**rules, "resamples": rules["resamples_replicated"]}
    tests = [replace(test, question=replace(test.question, rules=fewer)) for test in tests]
    models = list(dict.fromkeys(test.model for test in tests))
    again, changed = Counter(), Counter()
    for picks in islice(_draws(rules, models, seed), part, None, parts):
        found = evaluate(tests, fewer, seed, picks)
        again.update(key for key, judged in found.items() if judged.verdict == verdicts[key])
    for picks in islice(_omissions(tests, models), part, None, parts):
        found = evaluate(tests, fewer, seed, picks)
        changed.update(key for key, judged in found.items() if judged.verdict != verdicts[key])
    return again, changed


def judge(
    runs: pd.DataFrame,
    rules: Mapping[str, Any],
    experiment: str,
    controls: pd.DataFrame | None = None,
    processes: int = 1,
) -> pd.DataFrame:
    """Test every claim on an experiment.

    Parameters
    ----------
    runs : DataFrame
        One row per run, as in ``runs.csv``.
    rules : mapping
        Content of ``claims.yaml``.
    experiment : str
        Its name, for the sentences and the seeds of the resampling.
    controls : DataFrame, optional
        Interventions on trained networks, as `focal_curvature.analysis.controls` makes them.
    processes : int
        Among which the replications are shared out.

    Returns
    -------
    DataFrame
        Columns ``COLUMNS``: a row per claim, measure, Hessian, outcome, gamma and model, and one
        for all models together. ``estimate``, its 95% interval ``low`` to ``high``, and ``null``
        (no effect) are in ``unit``; ``effect`` is the same as text. ``replication`` is how often
        new seeds give the verdict again, ``leave_one_out`` how many single seeds change it.
        Numbers that there are not are NaN.
    """
    seed = derive_seed("claims", experiment)
    tests = prepare(runs, rules, controls)
    judgements = evaluate(tests, rules, seed)
    replicated = replicate(tests, rules, seed, judgements, processes)
    by_key = {(_key(test.question), test.model): test for test in tests}
    known = kinds(rules)
    order = {
        _key(question): question for name in rules["claims"] for question in questions(name, rules)
    }
    rows = []
    for key, question in order.items():
        models = [model for other, model in judgements if other == key]
        for model in models:
            judgement = judgements[key, model]
            counted = [
                by_key[key, m]
                for m in ([model] if model != ALL else models[:-1])
                if (key, m) in by_key
            ]
            sizes = [test.data for test in counted if test.data]
            rows.append(
                _row(question, known[question.claim["test"]], model, judgement)
                | {
                    "seeds": min((d.seeds for d in sizes), default=0),
                    "runs": sum(d.runs for d in sizes),
                }
                | _replication(judgement, sizes, *replicated[key, model])
            )
    table = pd.DataFrame(rows)
    table["sentence"] = [_sentence(row, experiment) for row in table.to_dict("records")]
    return table[COLUMNS]


def _replication(
    judgement: Judgement, sizes: Sequence[Data], again: float, changed: int
) -> dict[str, Any]:
    # Where no data are of seeds, as of interventions on trained networks, nothing is drawn.
    fixed = bool(sizes) and not any(data.resampled for data in sizes)
    if fixed or judgement.verdict in (NOT_TESTED, DESCRIBED):
        return {"replication": np.nan, "leave_one_out": np.nan, "fragile": False}
    fragile = again < FRAGILE or changed > 0
    return {"replication": again, "leave_one_out": changed, "fragile": bool(fragile)}


def _row(question: Question, kind: Kind, model: str, judgement: Judgement) -> dict[str, Any]:
    evidence, unit = judgement.evidence, kind.unit or question.outcome_unit
    claim = question.claim
    words = {
        "measure": question.measure_name,
        "outcome": question.outcome_name,
        "gamma": "" if question.gamma is None else f"{question.gamma:g}",
    }
    numbers = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    effect = ""
    if evidence:
        numbers = {k: unit.shown(getattr(evidence, k)) for k in ("estimate", "low", "high")}
        texts = [unit.form.format(numbers[k]) for k in ("estimate", "low", "high")]
        label = {"ρ": "ρ ", "share": "share "}.get(unit.name, "")
        after = "" if label or unit.logarithmic else f" {unit.name}"
        interval = "" if np.isnan(evidence.low) else f" [{texts[1]}, {texts[2]}]"
        effect = f"{label}{texts[0]}{interval}{after}"
        numbers["p"] = evidence.p
    return {
        **{"claim": question.name, "family": claim["family"], "role": question.role},
        **{"says": claim["says"].format(**words), "measure": question.measure or ""},
        **{"hessian_of": question.hessian_of or "", "outcome": question.outcome or ""},
        **{"gamma": np.nan if question.gamma is None else question.gamma, "model": model},
        **{"statistic": kind.statistic, "unit": unit.name, **numbers, "null": unit.null},
        **{"effect": effect, "p_holm": judgement.p_holm},
        **{"verdict": judgement.verdict, "reason": judgement.reason},
    }


def to_json(table: pd.DataFrame, rules: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """Return a JSON-ready description: the experiment, the rules' numbers, a mapping per row."""
    finite = table.replace([np.inf, -np.inf], np.nan).astype(object)
    rows = []
    bounded = table[["low", "high"]].notna().any(axis=1)  # by infinity, of a share
    records = finite.where(finite.notna(), None).to_dict("records")
    for row, known in zip(records, bounded, strict=True):
        low, high = row.pop("low"), row.pop("high")
        rows.append(row | {"interval": [low, high] if known else None})
    numbers = {key: value for key, value in rules.items() if key != "claims"}
    return {"experiment": experiment, "rules": numbers, "claims": rows}


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the verdicts out for print; "!" marks the fragile ones."""
    marks = table["fragile"].map({True: " !", False: ""}) if "fragile" in table else ""
    shown = {
        "Claim": table["family"] + ": " + table["says"],
        "Hessian of": table["hessian_of"].map(HESSIANS).fillna(""),
        "Model": table["model"],
        "Verdict": table["verdict"] + marks,
        "Effect, 95% interval": table["effect"],
        "p (Holm)": table["p_holm"].map(lambda p: "" if np.isnan(p) else _p(p)),
    }
    if "replication" in table:
        again = pd.to_numeric(table["replication"])
        shown["Replication"] = again.map(lambda r: "" if np.isnan(r) else f"{100 * r:.0f}%")
    shown |= {"Seeds": table["seeds"], "Runs": table["runs"], "Reason": table["reason"]}
    return pd.DataFrame(shown)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _sentence(row: Mapping[str, Any], experiment: str) -> str:
    numbers = ""
    if row["effect"]:
        p = "" if np.isnan(row["p_holm"]) else f", p after Holm {_p(row['p_holm'])}"
        numbers = f" ({row['effect']}{p})"
    of = f", Hessian of {HESSIANS[row['hessian_of']]}" if row["hessian_of"] else ""
    again = row["replication"]
    said = "" if np.isnan(again) else f"; new seeds would say so again in {100 * again:.0f}%"
    return (
        f"{experiment}, {row['model']}{of}: {WORDS[row['verdict']]} {row['says']}{numbers}: "
        f"{row['reason']}; {row['seeds']} seeds, {row['runs']} runs{said}."
    )
