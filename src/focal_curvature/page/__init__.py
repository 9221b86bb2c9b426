"""One self-contained HTML page: the answer, its evidence, every run to explore, figures.

Made from what ``paper_figures/<experiment>/`` and ``docs/pooled.csv`` hold, and from nothing else
but the captions and the configurations. What an experiment does not have yet, the page says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from focal_curvature.analysis import answer, summary
from focal_curvature.analysis.evidence import VERDICTS
from focal_curvature.files import read_json
from focal_curvature.page import columns, evidence, images
from focal_curvature.products import products
from focal_curvature.registry import label

LIMIT = 3_000_000  # bytes
# Of figures in pixels: the first with which the page is small enough.
WIDTHS = (1000, 900, 800, 700, 600, 560, 520, 480, 440)
LEAST_BYTES = 17  # of a figure, for each pixel of its width: what is surely too wide is not tried
# The page draws the same, larger, from the runs.
NOT_EMBEDDED = frozenset({"verdicts", "trace", "top_eigenvalue", "trace_ece", "ece_curvature"})


@dataclass(frozen=True)
class Figure:
    """A PNG file, its anchor, and its caption in HTML."""

    name: str
    key: str
    file: Path
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
    summary, runs : DataFrame or None
        ``tables/summary.csv`` and ``runs.csv``.
    figures : list of Figure
    configuration : str
        What Snakemake is told to use it, as ``--configfile config/letters.yaml``; may be empty.
    """

    name: str
    claims: dict[str, Any] | None
    summary: pd.DataFrame | None
    runs: pd.DataFrame | None
    figures: list[Figure]
    provenance: dict[str, Any] | None
    configuration: str

    @property
    def key(self) -> str:
        """Its anchor."""
        return evidence.anchor("experiment", self.name)

    def command(self, *targets: str) -> str:
        """Return the command that makes files of this experiment, or all of it."""
        # --configfile would take targets behind it for files.
        return " ".join(filter(None, ["snakemake --cores 2", *targets, self.configuration]))

    @property
    def run_command(self) -> str:
        """The command that makes one run anew, with ``{run}`` in the place of its name."""
        files = ("curvature/objective.json", "curvature/cross_entropy.json", "calibration.json")
        return self.command(*(f"results/{self.name}/{{run}}/{file}" for file in files))


def read(
    folder: Path, caption: Callable[[str, str], str], configuration: Callable[[str], str]
) -> Experiment:
    """Read an experiment.

    Parameters
    ----------
    folder : Path
        A ``paper_figures/<experiment>``; any file may be missing.
    caption : callable
        Takes the names of experiment and figure, returns HTML, which is not escaped.
    configuration : callable
        Takes the name of the experiment, returns what Snakemake is told to use it.

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
    return Experiment(
        name=name,
        claims=optional("claims.json"),
        summary=table(folder / "tables/summary.csv"),
        runs=table(folder / "runs.csv"),
        figures=[
            Figure(
                file.stem,
                evidence.anchor("figure", name, file.stem),
                file,
                caption(name, file.stem),
            )
            for file in files
            if file.stem not in NOT_EMBEDDED
        ],
        provenance=optional("provenance.json"),
        configuration=configuration(name),
    )


def table(file: Path) -> pd.DataFrame | None:
    """Read a table, None if there is no such file.

    Raises
    ------
    ValueError
        If it is damaged; names it.
    """
    try:
        return pd.read_csv(file) if file.exists() else None
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read ({error})") from error


def render(experiments: Sequence[Experiment], pooled: pd.DataFrame | None = None) -> str:
    """Return the page: HTML with its style, script and images inside.

    Without script there is all but what is drawn by it. The same experiments give the same text.

    Parameters
    ----------
    experiments : sequence of Experiment
    pooled : DataFrame, optional
        ``docs/pooled.csv``.

    Raises
    ------
    ValueError
        If two experiments have the same name, or the page is larger than `LIMIT`.
    """
    names = [experiment.name for experiment in experiments]
    if len(set(names)) < len(names):
        raise ValueError(f"experiments of the same name: {', '.join(sorted(names))}")
    judged = [experiment for experiment in experiments if experiment.claims]
    rules = judged[-1].claims["rules"] if judged else {}
    groups = [] if pooled is None else evidence.of_pooled(pooled, rules)
    for experiment in judged:
        groups += evidence.of_experiment(experiment.name, experiment.claims)
    sources = [*([] if pooled is None else [evidence.POOLED]), *(e.name for e in judged)]
    runs = {e.name: e.runs for e in experiments if e.runs is not None}
    commands = {e.name: e.run_command for e in experiments}
    packed = columns.pack(runs) | {"commands": commands} if runs else None
    results = {e.name: _results(e.summary) for e in experiments if e.summary is not None}
    template = _environment().get_template("page.html")

    def rendered(width: int) -> str:
        return template.render(
            experiments=experiments,
            judged={experiment.name: experiment for experiment in judged},
            headline=("", "") if pooled is None else answer.headline(pooled),
            bullets=[] if pooled is None else list(answer.bullets(pooled)),
            sources=sources,
            groups=groups,
            matrix=evidence.matrix(groups, sources),
            figures=evidence.FIGURES,
            symbols=VERDICTS,
            packed=columns.compress(packed) if packed else "",
            n_runs=sum(len(table) for table in runs.values()),
            results=results,
            embed=lambda file: images.embed(file, width) if width else images.NONE,
            image_width=width,
        )

    room = LIMIT - len(rendered(0).encode())
    each = LEAST_BYTES * sum(len(experiment.figures) for experiment in experiments)
    for width in WIDTHS:
        if width > WIDTHS[-1] and each * width > room:
            continue
        text = rendered(width)
        if len(text.encode()) <= LIMIT:
            return text
    raise ValueError(
        f"the page has {len(text.encode())} bytes, with figures of {width} pixels; limit: {LIMIT}"
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = label
    return environment


def _results(table: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Lay a summary out for print, networks by their names."""
    printed = summary.printed(table)
    return {
        title: part.assign(Model=part["Model"].map(label)).fillna("")
        for title, part in printed.items()
        if len(part)
    }
