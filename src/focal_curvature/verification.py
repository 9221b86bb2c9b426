"""Does a run say what the committed one says: verdict by verdict, number by number.

On the same machine with the same versions it has to, to the bit. Elsewhere last bits differ and
training enlarges them, so that a run counts as new draws: a number agrees where the difference is
within what two such runs differ by, all numbers that are compared taken into account.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from focal_curvature.files import read_json, verify

# Metrics that say how fast a machine is.
TIMES = ("train_seconds", "curvature_objective_seconds", "curvature_cross_entropy_seconds")
# What of a record decides the bits of a result, beside versions.
MACHINE = ("system", "processor_id", "libc", "kernels", "device", "threads")
# What identifies a verdict; earlier rules had fewer of these.
QUESTION = ["claim", "measure", "hessian_of", "outcome", "gamma", "model"]
OPPOSITE = {"supported", "contradicted"}
LEVEL = 0.05


@dataclass(frozen=True)
class Results:
    """What an experiment says of itself.

    Attributes
    ----------
    summary : DataFrame
        ``tables/summary.csv``: mean, interval and number of seeds per model, objective and metric.
    claims : mapping
        ``claims.json``: a verdict and an estimate with its interval per claim, Hessian and model;
        none of an experiment with a single objective.
    provenance : mapping
        ``provenance.json``.
    runs : DataFrame or None
        ``runs.csv``, where there is one.
    """

    summary: pd.DataFrame
    claims: Mapping[str, Any]
    provenance: Mapping[str, Any]
    runs: pd.DataFrame | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of it: ``numbers`` and ``verdicts`` row by row, and whether it ``agrees``."""

    numbers: pd.DataFrame
    verdicts: pd.DataFrame
    agrees: bool
    conclusion: str


def read(folder: Path) -> Results:
    """Read what an experiment's folder of products says.

    Parameters
    ----------
    folder : Path
        ``paper_figures/<experiment>``, or a flat folder of the same files.

    Raises
    ------
    ValueError
        If a file is missing, or its table of runs is not the one that ``provenance.json`` records.
    """

    def text(name: str) -> str | None:
        file = folder / name
        return file.read_text(encoding="utf-8") if file.is_file() else None

    results = _parse(text, str(folder))
    if results.runs is not None:
        verify(folder / "runs.csv", results.provenance["sha256"]["runs.csv"])
    return results


def committed(folder: Path, revision: str = "HEAD") -> Results:
    """Read what a commit has of an experiment's folder, whatever now lies there.

    Raises
    ------
    ValueError
        If there is no git here, or the commit has no such experiment.
    """

    def text(name: str) -> str | None:
        command = ["git", "show", f"{revision}:./{name}"]
        try:
            shown = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
        except FileNotFoundError as error:
            raise ValueError(
                f"{folder}: the committed results are read with git ({error}); "
                "name a folder that has them with --reference"
            ) from None
        return None if shown.returncode else shown.stdout

    return _parse(text, f"{folder} in {revision}")


def _parse(text: Callable[[str], str | None], name: str) -> Results:
    """Read results through a function that returns a file's text, or None if there is no file."""

    def first(*files: str) -> str | None:
        return next((content for file in files if (content := text(file)) is not None), None)

    summary = first("tables/summary.csv", "summary.csv")
    claims, provenance = first("claims.json"), first("provenance.json")
    if summary is None or provenance is None:
        raise ValueError(f"{name}: no results (summary.csv, provenance.json)")
    runs = first("runs.csv")
    return Results(
        pd.read_csv(io.StringIO(summary)),
        {"claims": []} if claims is None else json.loads(claims),
        json.loads(provenance),
        None if runs is None else pd.read_csv(io.StringIO(runs)),
    )


def against_commit(folder: Path) -> Comparison:
    """Hold what lies in an experiment's folder against what the last commit has of it.

    Raises
    ------
    ValueError
        If there is no git, the commit has no such experiment, or nothing was run since: a record
        has the seconds that a run took.
    """
    reference = committed(folder)
    if reference.provenance == read_json(folder / "provenance.json"):
        raise ValueError(f"{folder}: nothing was run here since the commit")
    return compare(reference, read(folder))


def compare(reference: Results, fresh: Results) -> Comparison:
    """Hold fresh results against a reference.

    A difference of two means or estimates is held against Student's t with Welch's degrees of
    freedom; standard errors are taken from the intervals' sides that face each other (Zou & Donner
    2008, MOVER), p-values are corrected by Holm's method over all numbers. A verdict that is
    supported in one and contradicted in the other is a disagreement; one that is decided in one and
    not in the other is none, as the difference between significant and not significant need not be
    significant itself (Gelman & Stern 2006).

    Returns
    -------
    Comparison
        ``numbers`` has a row per number that both have, with columns ``kind`` (mean over seeds, or
        a claim's estimate), ``model``, ``of`` (the objective, or the loss whose Hessian it is),
        ``quantity``, ``reference``, ``fresh``, ``equal``, ``difference``, ``joint`` (half-width of
        the difference's 95% interval), ``p`` and ``p_holm``; both NaN where there is one seed.
        ``verdicts`` has a row per verdict.
    """
    numbers = _numbers(reference, fresh)
    verdicts = _verdicts(reference, fresh)
    agrees, conclusion = _conclude(reference, fresh, numbers, verdicts)
    return Comparison(numbers, verdicts, agrees, conclusion)


def _numbers(reference: Results, fresh: Results) -> pd.DataFrame:
    same_rules = _same_rules(reference, fresh)
    tables = [
        pd.concat([_means(results.summary), *([_estimates(results.claims)] * same_rules)])
        for results in (reference, fresh)
    ]
    table = tables[0].merge(
        tables[1], on=["kind", "model", "of", "quantity"], suffixes=("_reference", "_fresh")
    )
    columns = ("value", "low", "high", "n", "quantile")
    r, r_low, r_high, r_n, r_q = (table[f"{c}_reference"].to_numpy(float) for c in columns)
    f, f_low, f_high, f_n, f_q = (table[f"{c}_fresh"].to_numpy(float) for c in columns)
    difference = f - r
    rose = difference > 0
    # The sides of both intervals that face each other, as standard errors.
    r_error = np.where(rose, r_high - r, r - r_low) / r_q
    f_error = np.where(rose, f - f_low, f_high - f) / f_q
    variance = r_error**2 + f_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (r_error**4 / (r_n - 1) + f_error**4 / (f_n - 1))
        p = 2 * stats.t.sf(np.abs(difference) / np.sqrt(variance), freedom)
        joint = np.sqrt(variance) * stats.t.ppf(1 - LEVEL / 2, freedom)
    # Without any variation there is nothing by which to differ.
    constant = variance == 0
    p = np.where(constant, (difference == 0).astype(float), p)
    joint = np.where(constant, 0, joint)
    known = ~np.isnan(p)
    p_holm = np.full(p.shape, np.nan)
    if known.any():
        p_holm[known] = multipletests(p[known], method="holm")[1]
    return table[["kind", "model", "of", "quantity"]].assign(
        reference=r,
        fresh=f,
        equal=(r == f) & (r_low == f_low) | np.isnan(r_low) & (r == f),
        difference=difference,
        joint=joint,
        p=p,
        p_holm=p_holm,
    )


def _means(summary: pd.DataFrame) -> pd.DataFrame:
    """Lay means out as numbers, with Student's quantile that their intervals were made with."""
    table = summary[~summary["metric"].isin(TIMES)]
    return pd.DataFrame(
        {
            "kind": "mean over seeds",
            "model": table["model"],
            "of": table["objective"],
            "quantity": table["metric"],
            "value": table["mean"],
            "low": table["low"],
            "high": table["high"],
            "n": table["n"],
            "quantile": stats.t.ppf(1 - LEVEL / 2, table["n"] - 1),
        }
    )


def _estimates(claims: Mapping[str, Any]) -> pd.DataFrame:
    """Lay the claims' estimates out as numbers; their intervals are of a bootstrap over seeds."""
    rows = [row for row in claims["claims"] if row["estimate"] is not None and row["interval"]]
    questions = _questions(rows)
    return pd.DataFrame(
        {
            "kind": "estimate",
            "model": questions["model"],
            "of": [" ".join(filter(None, row)) for row in questions[QUESTION[1:-1]].to_numpy()],
            "quantity": questions["claim"],
            "value": [row["estimate"] for row in rows],
            "low": [row["interval"][0] for row in rows],
            "high": [row["interval"][1] for row in rows],
            "n": [row["seeds"] for row in rows],
            "quantile": stats.norm.ppf(1 - LEVEL / 2),
        }
    )


def _questions(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what each verdict is about, as text, empty where it is about nothing of the kind."""
    texts = [["" if row.get(k) is None else str(row[k]) for k in QUESTION] for row in rows]
    return pd.DataFrame(texts, columns=QUESTION)


def _verdicts(reference: Results, fresh: Results) -> pd.DataFrame:
    """Lay out the verdicts that both have; none where they were judged by other rules."""
    tables = []
    for results in (reference, fresh):
        rows = results.claims["claims"] if _same_rules(reference, fresh) else []
        verdicts = pd.DataFrame(rows, columns=["verdict", "effect"])
        tables.append(pd.concat([_questions(rows), verdicts], axis=1))
    table = tables[0].merge(tables[1], on=QUESTION, suffixes=("_reference", "_fresh"))
    table = table.drop(columns=[c for c in QUESTION if (table[c] == "").all()])
    changes = []
    for pair in zip(table["verdict_reference"], table["verdict_fresh"], strict=True):
        reverse = set(pair) == OPPOSITE
        alike = "same" if len(set(pair)) == 1 else "undecided once"
        changes.append("reversed" if reverse else alike)
    return table.assign(change=changes)


def _runs(reference: Results, fresh: Results) -> tuple[int, list[str]]:
    """Return how many runs differ in any bit, and which ended otherwise, as far as known."""
    if reference.runs is None or fresh.runs is None:
        return 0, []
    # Columns that an earlier version did not record are empty.
    tables = (results.runs.dropna(axis=1, how="all") for results in (reference, fresh))
    a, b = (table.set_index("run") for table in tables)
    common = a.index.intersection(b.index)
    columns = a.columns.intersection(b.columns).difference([*TIMES])
    a, b = a.loc[common, columns], b.loc[common, columns]
    # What the reference does not know does not differ.
    equal = ((a == b) | a.isna()).all(axis=1)
    return int((~equal).sum()), list(common[a["status"] != b["status"]])


def _conclude(
    reference: Results, fresh: Results, numbers: pd.DataFrame, verdicts: pd.DataFrame
) -> tuple[bool, str]:
    """Return whether they agree, and the sentence that says so or what it means that not."""
    if _images(reference) != _images(fresh):
        return False, "does not agree: the data set is another one"
    if numbers.empty:
        return False, "does not agree: there is no number that both have"
    if bool(reference.claims["claims"]) != bool(fresh.claims["claims"]):
        return False, "does not agree: only one of them has verdicts (claims.json)"
    changed = verdicts[verdicts["change"] != "same"]
    other_runs, otherwise = _runs(reference, fresh)
    others = int((~numbers["equal"]).sum())
    count = f"{len(numbers)} numbers"
    if not others and not other_runs and changed.empty:
        return True, f"agrees to the bit: {count}, {len(verdicts)} verdicts" + (
            ""
            if _same_rules(reference, fresh)
            else "; judged by other rules, verdicts are not compared"
        )
    if _same_machine(reference, fresh):
        return False, (
            f"does not agree: {others} of {count}, {other_runs} runs and {len(changed)} of "
            f"{len(verdicts)} verdicts are others. On the same machine with the same versions only "
            f"other sources or settings can do that. {_sources(reference, fresh)}"
        )
    beyond = numbers[numbers["p_holm"] < LEVEL].sort_values("p_holm")
    reverse = changed[changed["change"] == "reversed"]
    if len(beyond) or len(reverse):
        return False, (
            f"does not agree: {len(beyond)} of {count} differ by more than new draws do (Holm, 5%) "
            f"and {len(reverse)} of {len(verdicts)} verdicts are reversed"
            f"{_names(beyond, ['model', 'of', 'quantity'])}{_names(reverse, QUESTION)}. This is "
            "not chance: sources, settings, versions or kernels compute something else. "
            f"{_sources(reference, fresh)}"
        )
    tested = int(numbers["p"].notna().sum())
    by_chance = int((numbers["p"] < LEVEL).sum())
    text = (
        f"agrees, as new draws do: none of {tested} numbers differs beyond chance (Holm, 5%; "
        f"{by_chance} at 5% each, where {LEVEL * tested:.0f} are expected of independent ones); "
        f"{len(verdicts) - len(changed)} of {len(verdicts)} verdicts are the same"
    )
    if len(changed):
        text += f", none is reversed, {len(changed)} decided in one run alone"
        text += _names(changed, QUESTION)
    if not _same_rules(reference, fresh):
        text += ": judged by other rules, verdicts are not compared"
    if otherwise:
        text += f"; ended otherwise, diverged in one: {', '.join(otherwise)}"
    return True, text


def _same_rules(reference: Results, fresh: Results) -> bool:
    return reference.claims.get("rules") == fresh.claims.get("rules")


def _images(results: Results) -> Any:
    return results.provenance["dataset"]["sha256"]


def _same_machine(reference: Results, fresh: Results) -> bool:
    """Whether both were made by the same versions on the same processor, as far as known."""
    made = []
    for results in (reference, fresh):
        machines = [{k: m.get(k) for k in MACHINE} for m in results.provenance["machines"]]
        if any(machine["processor_id"] is None for machine in machines):
            return False
        made.append((results.provenance["software"], machines))
    return made[0] == made[1]


def _sources(reference: Results, fresh: Results) -> str:
    before, now = (", ".join(map(str, r.provenance["commits"])) for r in (reference, fresh))
    if before == now:
        return "The sources are the same."
    return f"The reference was made by commit {before}, this by {now}."


def _names(rows: pd.DataFrame, columns: Sequence[str]) -> str:
    """Name the first rows of a table in brackets, if there are any."""
    columns = [column for column in columns if column in rows]
    names = [" ".join(filter(None, row)) for row in rows[columns].head(5).to_numpy()]
    more = "; ..." if len(rows) > len(names) else ""
    return f" ({'; '.join(names)}{more})" if names else ""


def printed(comparison: Comparison) -> str:
    """Lay a comparison out in Markdown: verdicts, numbers by quantity, and the last line."""
    numbers, verdicts = comparison.numbers, comparison.verdicts
    ratio = (numbers["difference"] / numbers["joint"]).abs().where(numbers["joint"] > 0)
    groups = numbers.assign(
        ratio=ratio, beyond=numbers["p"] < LEVEL, significant=numbers["p_holm"] < LEVEL
    ).groupby(["kind", "quantity"], sort=False)
    by_quantity = groups.agg(
        numbers=("equal", "size"),
        equal=("equal", "sum"),
        beyond=("beyond", "sum"),
        significant=("significant", "sum"),
        ratio=("ratio", "max"),
    ).reset_index()
    by_quantity.columns = [
        *("kind", "quantity", "numbers", "the same to the bit", "beyond 95%", "beyond, Holm"),
        "largest difference / joint half-width",
    ]
    tables = [
        verdicts.to_markdown(index=False),
        by_quantity.to_markdown(index=False, floatfmt=".2f"),
    ]
    return "\n\n".join([*tables, comparison.conclusion])
