"""Verdict rows as a reader is led to them: a group per claim, Hessian and experiment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from focal_curvature.analysis import claims, pooled
from focal_curvature.analysis.answer import CLAIMS, HESSIANS
from focal_curvature.analysis.evidence import DESCRIBED, NOT_TESTED, SIGNIFICANT, WIDE
from focal_curvature.registry import label

POOLED = "pooled"
# Family of claims -> the figures that show what its verdicts are about.
FIGURES = {
    "C1": ("relative_curvature",),
    "C2": ("ece", "factorial", "refinement", "strength"),
    "C3": ("strength", "arms", "refinement"),
    "C4": ("factorial", "mediation", "interventions", "adaptive_sharpness", "trajectory"),
    "C5": ("mediation", "interventions"),
}

# Claims on the strength of a penalty; the others are on gamma.
OVER_STRENGTH = frozenset({"c2_best_strength_gauss_newton", "c2_best_strength_hessian"})
FEW = 20  # ends of intervals: with more, the farthest do not set the scale


@dataclass(frozen=True)
class Interval:
    """Where a row's interval is drawn: percentages of the width, and whether an end is not."""

    low: float
    estimate: float
    high: float
    null: float
    beyond: bool


@dataclass(frozen=True)
class Row:
    """A test on a network, or on all together."""

    test: str
    model: str
    effect: str
    p: str
    seeds: int
    runs: int
    replication: str
    verdict: str
    fragile: bool
    reason: str
    interval: Interval | None


@dataclass(frozen=True)
class Group:
    """The evidence behind a cell of the matrix.

    Attributes
    ----------
    source : str
        The experiment, or `POOLED`.
    claim, family, hessian : str
        Keys; ``hessian`` is empty where a claim speaks of none.
    title : str
        What the claim says.
    statistic : str
        What is estimated, of which kind; ``ends`` are the ends of the scale that intervals have.
    rows : list of Row
    decided : list of Row
        Those that the cell shows: of all networks together.
    plot : tuple of str
        Columns of ``runs.csv`` to look at, horizontal and vertical.
    """

    source: str
    claim: str
    family: str
    hessian: str
    title: str
    statistic: str
    ends: tuple[str, str]
    rows: list[Row]
    decided: list[Row]
    plot: tuple[str, str]

    @property
    def key(self) -> str:
        """Its anchor."""
        return anchor(self.source, self.claim, self.hessian)

    @property
    def of(self) -> str:
        """Whose Hessian, in words."""
        return HESSIANS[self.hessian]

    @property
    def words(self) -> str:
        """What its cell shows, in words: verdicts, counted."""
        counts = Counter(row.verdict + ", fragile" * row.fragile for row in self.decided)
        return "; ".join(f"{n} {text}" for text, n in counts.items())


def anchor(*parts: str) -> str:
    """Return an anchor made of names."""
    return "--".join(re.sub(r"[^\w]+", "-", part) for part in parts if part)


def of_experiment(name: str, content: Mapping[str, Any]) -> list[Group]:
    """Group an experiment's verdicts, the content of its ``claims.json``."""
    table = pd.DataFrame(content["claims"])
    if table.empty:
        return []
    ends = [[np.nan] * 2 if pair is None else pair for pair in table["interval"]]
    low, high = np.array(ends, float).T
    table = table.assign(low=low, high=high).astype({"estimate": float, "p_holm": float})
    shown = claims.printed(table)
    table = table.assign(p_text=shown["p (Holm)"], replication_text=shown["Replication"])
    networks = set(table["model"]) - {claims.ALL}
    if len(networks) == 1:
        # One network says nothing of architectures, and all of it is its own verdict.
        table = table[table["model"] != claims.ALL]
        return _groups(name, table, content["rules"], networks.pop())
    return _groups(name, table, content["rules"], claims.ALL)


def of_pooled(table: pd.DataFrame, rules: Mapping[str, Any]) -> list[Group]:
    """Group the pooled verdicts, ``docs/pooled.csv``; ``rules`` have the names of measures."""
    table = table.fillna({"hessian_of": "", "outcome": "", "part": "", "measure": ""})
    shown = pooled.printed(table)
    networks = [
        f"{n} networks, {d} data sets" for n, d in table[["effects", "data_sets"]].to_numpy()
    ]
    table = table.assign(
        model=networks,
        effect=shown["Effect, 95% interval"],
        p_text=shown["p (Holm)"],
        replication_text=shown["Replication"],
        statistic="random-effects mean over networks, positive as claimed"
        + table["part"].map(lambda part: f": {part}" if part else ""),
        unit=table["part"],
        null=0.0,
    )
    return _groups(POOLED, table, rules, None)


def _groups(
    source: str, table: pd.DataFrame, rules: Mapping[str, Any], together: str | None
) -> list[Group]:
    """Group a table of verdicts; the rows of the model ``together``, or all, make the cell."""
    names = {model: label(model) if together else model for model in table["model"]}
    groups = []
    for (claim, hessian), tests in table.groupby(["claim", "hessian_of"], sort=False):
        scales = {unit: _Scale(part, unit) for unit, part in tests.groupby("unit")}
        entries = _ordered(tests, together).to_dict("records")
        rows = [_row(entry, rules, scales[entry["unit"]], names) for entry in entries]
        known = tests[tests["estimate"].notna()]
        first = (tests if known.empty else known).iloc[0]
        groups.append(
            Group(
                source=source,
                claim=claim,
                family=first["family"],
                hessian=hessian,
                title=CLAIMS.get(claim, first["says"]),
                statistic=first["statistic"],
                ends=scales[first["unit"]].ends if tests["unit"].nunique() == 1 else ("", ""),
                rows=rows,
                decided=[
                    row
                    for row, entry in zip(rows, entries, strict=True)
                    if row.verdict != DESCRIBED and together in (None, entry["model"])
                ],
                plot=_plot(first),
            )
        )
    return groups


def _ordered(rows: pd.DataFrame, together: str | None) -> pd.DataFrame:
    """Put each test's verdict on all networks first; leave out what says little.

    That is networks that were not tested, what is reported beside what decides, and all networks
    together where nothing decides.
    """
    described = rows["verdict"] == DESCRIBED
    rows = rows[~described | (described.all() & (rows["model"] != claims.ALL))]
    tests = rows.groupby(["measure", "outcome", "gamma"], sort=False, dropna=False).ngroup()
    single = (rows["model"] != together) & (together is not None)
    order = np.lexsort((single, tests))
    return rows.iloc[order][~(single & (rows["verdict"] == NOT_TESTED)).iloc[order]]


class _Scale:
    """The scale of intervals of a unit; a few far ones do not set it."""

    def __init__(self, rows: pd.DataFrame, unit: str) -> None:
        self.logarithmic = unit == "ratio"
        self.null = float(rows["null"].iloc[0])
        bounds = self.number(rows[["low", "high"]].to_numpy(float).ravel())
        bounds = bounds[np.isfinite(bounds)]
        if len(bounds) > FEW:
            bounds = np.percentile(bounds, [5, 95])
        low, high = (end([*bounds, self.number(self.null)]) for end in (min, max))
        pad = 0.08 * (high - low) or 1.0
        self.low, self.high = low - pad, high + pad
        form = "×{:.2g}" if self.logarithmic else "{:.2g}"
        back = np.exp if self.logarithmic else float
        low, high = (form.format(back(end)) for end in (self.low, self.high))
        self.ends = (low, high) if len(bounds) else ("", "")

    def number(self, value: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(value) if self.logarithmic else value

    def place(self, value: float) -> float:
        share = (self.number(value) - self.low) / (self.high - self.low)
        return round(100 * float(np.clip(share, 0, 1)), 1)

    def interval(self, low: float, estimate: float, high: float) -> Interval | None:
        if not np.isfinite([low, estimate, high]).all():
            return None
        return Interval(
            *(self.place(value) for value in (low, estimate, high, self.null)),
            beyond=bool(self.number(low) < self.low or self.number(high) > self.high),
        )


def _row(
    row: Mapping[str, Any], rules: Mapping[str, Any], scale: _Scale, names: Mapping[str, str]
) -> Row:
    measure, outcome, reason = row["measure"], row["outcome"], row["reason"]
    # What the key of the symbols says once.
    for said in (SIGNIFICANT, WIDE):
        reason = reason.removeprefix(said).removeprefix("; ")
    parts = [
        rules.get("measures", {}).get(measure, measure.replace("_", " ")),
        rules.get("outcomes", {}).get(outcome, {}).get("label", outcome.replace("_", " ")),
        "" if pd.isna(row["gamma"]) else f"γ = {row['gamma']:g}",
    ]
    return Row(
        test=", ".join(filter(None, parts)) or row["says"],
        model=names[row["model"]],
        effect=row["effect"],
        p=row["p_text"],
        seeds=row["seeds"],
        runs=row["runs"],
        replication=row["replication_text"],
        verdict=row["verdict"],
        fragile=bool(row["fragile"]),
        reason=re.sub(r"\w+", lambda name: names.get(name[0], name[0]), reason),
        interval=scale.interval(row["low"], row["estimate"], row["high"]),
    )


def _plot(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the columns to look at: a measure of curvature against gamma, or an outcome."""
    curvature = "_".join(filter(None, (row["measure"], row["hessian_of"])))
    level = "strength" if row["claim"] in OVER_STRENGTH else "gamma"
    return (curvature or level, row["outcome"]) if row["outcome"] else (level, curvature)


def matrix(groups: Iterable[Group], sources: Sequence[str]) -> list[dict[str, Any]]:
    """Lay groups out: a row per claim and Hessian that some source tested, a cell per source."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for group in groups:
        if group.decided:
            row = rows.setdefault((group.claim, group.hessian), {"first": group, "cells": {}})
            row["cells"][group.source] = group
    order = list(CLAIMS)
    known = sorted(rows, key=lambda key: order.index(key[0]) if key[0] in order else len(order))
    laid = [
        {"first": rows[key]["first"], "cells": [rows[key]["cells"].get(s) for s in sources]}
        for key in known
        if any(r.verdict != NOT_TESTED for g in rows[key]["cells"].values() for r in g.decided)
    ]
    for i, row in enumerate(laid):
        same = [other for other in laid if other["first"].claim == row["first"].claim]
        row["span"] = len(same) if i == laid.index(same[0]) else 0
    return laid
