"""Which of an experiment's runs: one way of saying it, throughout the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from focal_curvature.registry import unknown
from focal_curvature.runs import RunSpec
from focal_curvature.settings import option


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Some of the runs that an experiment trains."""

    objectives: list[str] = option(
        ["focal"],
        about="which runs, by the names of losses and regularisers or of the folders of runs",
        choose="which runs: names in `objectives` and `regularisers`, such as `focal`, for all of "
        "their values; or folder names such as `ce`, `focal-2`, `ce-sam-0.05`",
        minItems=1,
        uniqueItems=True,
    )
    seeds: list[int] | None = option(
        None,
        about="which runs: some of seeds, or null for all",
        choose="which runs: some of `seeds`; `null`: all",
        minItems=1,
        uniqueItems=True,
        items={"type": "integer", "minimum": 0},
    )

    def select(self, runs: Iterable[RunSpec]) -> list[RunSpec]:
        """Return the runs that are meant, in the order given."""
        return [
            run
            for run in runs
            if {run.objective.slug, run.objective.family} & set(self.objectives)
            and (self.seeds is None or run.seed in self.seeds)
        ]

    def absent(self, runs: Iterable[RunSpec]) -> Iterator[str]:
        """Say what is meant but not trained: key, value, what there is."""
        runs = list(runs)
        known = dict.fromkeys(
            name for run in runs for name in (run.objective.family, run.objective.slug)
        )
        for index, name in enumerate(self.objectives):
            if name not in known:
                yield f"objectives[{index}]: {unknown(name, known)}"
        seeds = sorted({run.seed for run in runs})
        for seed in sorted(set(self.seeds or ()) - set(seeds)):
            yield f"seeds: {seed} is not in seeds: {seeds}"
