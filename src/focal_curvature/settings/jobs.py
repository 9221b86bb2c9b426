"""How many runs one job serves; each run keeps its own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from focal_curvature.settings import option


@dataclass(frozen=True)
class Jobs:
    """How many runs one job serves; each run keeps its own files."""

    train: Literal["run", "cell"] = option(
        "run",
        choose="how many runs a job trains: `run`, or `cell` for all seeds of a model and "
        "objective. Cells save start-up time where jobs take seconds; runs parallelise where they "
        "take minutes, and only they are kept when another seed of their cell fails",
    )
    curvature: Literal["run", "cell", "model"] = option(
        "run",
        about="a cell is all seeds of a model and an objective",
        choose="likewise; also `model` for all of a model's",
    )
    calibration: Literal["run", "cell", "model"] = option(
        "cell",
        choose="likewise. A calibration job loads libraries for five seconds to work for a "
        "tenth of one per run: `model` for small runs",
    )
    stages: Literal["run", "model"] = option(
        "model",
        about="of stages that look at each run alone, as controls and shift; others serve a model",
        choose="likewise, of the stages that look at each run alone, as `controls` and `shift`: "
        "`run` where a model's runs take long, or are to be continued on another machine "
        "(docs/faults.md)",
    )
    checkpoint_seconds: float = option(
        60,
        about="least time between two checkpoints of a run",
        choose="least time between checkpoints of a run; a killed run resumes and ends with the "
        "same bits",
        minimum=0,
    )
