"""What an experiment may do with its trained runs beside scoring them: one file per stage.

A stage is a file of this folder with a `Stage` named ``STAGE``. It is asked for by its name in the
configuration, where its settings are. Importing a stage does not import torch: what it measures
with, it imports when it measures.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from focal_curvature.runs import RunSpec
from focal_curvature.settings.curvature import Curvature
from focal_curvature.settings.selection import Selection

if TYPE_CHECKING:
    from focal_curvature.stages.work import Work

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class StageSettings(Selection):
    """Settings of a stage: which runs, and how much work they are."""

    FOCAL: ClassVar[bool] = False

    def problems(self, runs: Sequence[RunSpec]) -> Iterator[str]:
        """Say what does not go with the runs that the experiment trains, by key."""
        lines = list(self.absent(runs))
        if not lines and not self.select(runs):
            lines.append("objectives: no run is both of these and of the seeds given")
        if self.FOCAL:
            others = dict.fromkeys(
                run.objective.slug for run in self.select(runs) if not run.objective.is_focal
            )
            lines += [f"objectives: {slug} is not focal loss alone" for slug in others]
        yield from lines

    def measurements(self, curvature: Curvature) -> float:
        """Return the work per run, in measurements of curvature under two losses."""
        return 0


@dataclass(frozen=True)
class Stage:
    """What a stage is given, what it makes, and how.

    Attributes
    ----------
    settings : type
        `StageSettings`, the section of that name in the configuration.
    tables : mapping
        Names of the tables that it makes -> their columns.
    measure : callable
        (`focal_curvature.stages.work.Work`, settings) -> rows of each table.
    title : str
        What a job says that it does.
    needs : str
        The file of each run that it is made from.
    per_model : bool
        Whether each model is a job; else one job serves all.
    by_run : bool
        Whether what it finds of a run rests on that run alone, so that each run may be a job.
    trains : bool
        Whether it trains the runs once more.
    images : bool
        Whether it is for images alone, not for vectors.
    """

    settings: type[StageSettings]
    tables: Mapping[str, Sequence[str]]
    measure: Callable[[Work, Any], Mapping[str, Rows]]
    title: str
    needs: str = "model.pt"
    per_model: bool = True
    by_run: bool = False
    trains: bool = False
    images: bool = False


def path(name: str) -> str:
    """Return the import path of a stage."""
    return f"{__name__}.{name}:STAGE"


@cache
def stages() -> dict[str, Stage]:
    """Return every stage by its name, in the order of names."""
    names = sorted(file.stem for file in Path(__file__).parent.glob("*.py"))
    return {
        name: importlib.import_module(f"{__name__}.{name}").STAGE
        for name in names
        if name not in ("__init__", "work")
    }
