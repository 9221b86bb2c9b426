"""One self-contained HTML page of experiments: verdicts, table of results, figures, provenance.

Made from what ``paper_figures/<experiment>/`` holds, and from nothing else but the captions. What
an experiment does not have yet, the page says so.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd

from focal_curvature.analysis import claims, summary
from focal_curvature.analysis.evidence import VERDICTS
from focal_curvature.files import read_json
from focal_curvature.products import products

NONE = "none"  # value of the filter for objectives without gamma


@dataclass(frozen=True)
class Figure:
    """A PNG file as a data URI, its width and height in pixels, and its caption in HTML."""

    name: str
    image: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class Experiment:
    """What is committed of an experiment.

    Attributes
    ----------
    name : str
        Of its folder.
    claims, provenance : dict or None
        Contents of ``claims.json`` and ``provenance.json``.
    summary : DataFrame or None
        ``tables/summary.csv``.
    families : dict
        Objective -> what those share that differ in their parameters alone.
    figures : list of Figure
    """

    name: str
    claims: dict[str, Any] | None
    summary: pd.DataFrame | None
    families: dict[str, str]
    figures: list[Figure]
    provenance: dict[str, Any] | None


class Cell(NamedTuple):
    """What a table shows, and the number to sort it by (NaN: last), if it is one."""

    text: str
    number: float | None = None


class Row(NamedTuple):
    """Cells, and the values that the filters compare."""

    cells: list[Cell]
    filters: dict[str, str]


class Filter(NamedTuple):
    """A choice: its key, its label, its values, and the one chosen at first (all if empty)."""

    key: str
    label: str
    options: list[str]
    chosen: str = ""


class Table(NamedTuple):
    """A table with filters; the heading of its rows is the column of that name."""

    key: str
    headings: list[str]
    row_heading: str
    rows: list[Row]
    filters: list[Filter]


def read(folder: Path, caption: Callable[[str, str], str]) -> Experiment:
    """Read an experiment.

    Parameters
    ----------
    folder : Path
        A ``paper_figures/<experiment>``; any file may be missing.
    caption : callable
        Takes the names of experiment and figure, returns HTML, which is not escaped.

    Raises
    ------
    ValueError
        If it is no folder, or a file is damaged; names it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    name = folder.resolve().name

    def optional(file: str) -> dict[str, Any] | None:
        return read_json(folder / file) if (folder / file).exists() else None

    order = {product.name: product.order for product in products("figures")}
    files = sorted(folder.glob("*.png"), key=lambda f: (order.get(f.stem, math.inf), f.stem))
    runs = _table(folder / "runs.csv")
    return Experiment(
        name=name,
        claims=optional("claims.json"),
        summary=_table(folder / "tables/summary.csv"),
        families={} if runs is None else _families(runs),
        figures=[_figure(file, caption(name, file.stem)) for file in files],
        provenance=optional("provenance.json"),
    )


def _families(runs: pd.DataFrame) -> dict[str, str]:
    """Return the name of each objective's regulariser, or of its loss."""
    names = runs["loss"] if "regulariser" not in runs else runs["regulariser"].fillna(runs["loss"])
    return dict(zip(runs["objective"], names, strict=True))


def _table(file: Path) -> pd.DataFrame | None:
    try:
        return pd.read_csv(file) if file.exists() else None
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read ({error})") from error


def _figure(file: Path, caption: str) -> Figure:
    data = file.read_bytes()
    if not data.startswith(b"\x89PNG") or len(data) < 24:
        raise ValueError(f"{file}: is not a PNG image")
    image = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return Figure(file.stem, image, *struct.unpack(">II", data[16:24]), caption)


def render(experiments: Sequence[Experiment]) -> str:
    """Return the page: HTML with its style, script and images inside, readable without script.

    The same experiments give the same text.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        experiments=experiments,
        verdicts=_verdicts([e for e in experiments if e.claims]),
        results=_results([e for e in experiments if e.summary is not None]),
        symbols=VERDICTS,
    )


def _verdicts(experiments: Sequence[Experiment]) -> Table:
    """Lay out all verdicts; those on all models together are shown at first."""
    rows, headings = [], []
    for experiment in experiments:
        table = pd.DataFrame(experiment.claims["claims"])
        table = table.astype({"estimate": float, "p_holm": float})
        printed = claims.printed(table)
        headings = ["Experiment", *printed]
        numbers = {
            "Effect, 95% interval": table["estimate"],
            "p (Holm)": table["p_holm"],
            "Seeds": table["seeds"],
            "Runs": table["runs"],
        }
        for i, texts in enumerate(printed.to_dict("records")):
            cells = [Cell(experiment.name)]
            for heading, text in texts.items():
                number = numbers[heading][i] if heading in numbers else None
                cells.append(Cell(str(text), number))
            row = table.iloc[i]
            filters = {"claim": row["family"], "model": row["model"], "verdict": row["verdict"]}
            rows.append(Row(cells, {"experiment": experiment.name, **filters}))
    return Table(
        "verdicts",
        headings,
        "Claim",
        rows,
        [
            Filter("experiment", "Experiment", _values(rows, "experiment")),
            Filter("claim", "Claim", _values(rows, "claim")),
            Filter("model", "Model", _values(rows, "model"), chosen=claims.ALL),
            Filter("verdict", "Verdict", _values(rows, "verdict", VERDICTS)),
        ],
    )


def _results(experiments: Sequence[Experiment]) -> Table:
    """Lay out the summaries: a row per experiment, model and objective."""
    summaries = []
    for experiment in experiments:
        groups = experiment.summary.groupby(summary.CELL, sort=False, dropna=False)
        for (model, objective, gamma), group in groups:
            parts = summary.printed(group).values()
            texts = {heading: text for part in parts for heading, text in part.iloc[0].items()}
            means = group.set_index("metric")["mean"]
            family = experiment.families.get(objective, objective)
            summaries.append((experiment.name, model, objective, gamma, family, texts, means))
    metrics = {
        metric: heading
        for part in summary.PRINTED.values()
        for metric, (heading, _) in part.items()
        if any(metric in means.index for *_, means in summaries)
    }
    rows = []
    for name, model, objective, gamma, family, texts, means in summaries:
        focusing = Cell("–" if math.isnan(gamma) else f"{gamma:g}", gamma)
        cells = [Cell(name), Cell(model), Cell(objective), focusing]
        for metric, heading in metrics.items():
            cells.append(Cell(texts.get(heading, "–"), means.get(metric, math.nan)))
        filters = {
            **{"experiment": name, "model": model, "family": family},
            "gamma": NONE if math.isnan(gamma) else f"{gamma:g}",
        }
        rows.append(Row([*cells, Cell(str(texts["n"]), texts["n"])], filters))
    gammas = sorted({f"{row[3]:g}" for row in summaries if not math.isnan(row[3])}, key=float)
    return Table(
        "results",
        ["Experiment", "Model", "Objective", "γ", *metrics.values(), "n"],
        "Objective",
        rows,
        [
            Filter("experiment", "Experiment", _values(rows, "experiment")),
            Filter("model", "Model", _values(rows, "model")),
            Filter("gamma", "γ", _values(rows, "gamma", [*gammas, NONE])),
            Filter("family", "Objective", _values(rows, "family")),
        ],
    )


def _values(rows: Iterable[Row], key: str, order: Iterable[str] = ()) -> list[str]:
    """Return the values that occur, in the order given or of their occurrence."""
    values = dict.fromkeys(row.filters[key] for row in rows)
    return [value for value in order if value in values] or list(values)
