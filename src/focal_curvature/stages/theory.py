"""Focal loss's bound and its curvature in the logits, and a problem whose posterior is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from focal_curvature.runs import RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.settings import option
from focal_curvature.stages import Rows, Stage, StageSettings

if TYPE_CHECKING:
    from focal_curvature.stages.work import Work

KEYS = ("model", "objective", "seed")
TABLES = {
    "bound": [
        *(*KEYS, "trained_gamma", "gamma", "entropy", "samples", "holds", "largest_violation"),
        *("mean_slack", "focal", "cross_entropy", "entropy_mean"),
    ],
    "logit_curvature": [
        *(*KEYS, "gamma", "classes", "samples", "focal", "cross_entropy", "ratio", "negative"),
        "largest_deviation",
    ],
    "predictions": [
        *(*KEYS, "gamma", "classes", "log_odds", "ratio", "closed_form"),
        *("removed", "full", "true_class"),
    ],
    "posterior": [
        *("gamma", "variant", "temperature", "mean_absolute_error", "kullback_leibler"),
        "confidence_bias",
    ],
    "posterior_points": ["gamma", "true", "raw", "scaled", "psi"],
    "posterior_plane": ["gamma", "variant", "x", "y", "predicted", "confidence"],
}


@dataclass(frozen=True, kw_only=True)
class Theory(StageSettings):
    """The bound and the closed form against test predictions; Psi where the posterior is known."""

    FOCAL: ClassVar = True

    seed: int = option(
        0,
        about="whose predictions are drawn; also the posterior problem's",
        choose="whose predictions are drawn sample by sample, where the tables have all; also the "
        "posterior problem's",
        minimum=0,
        maximum=2**32 - 1,
    )
    gammas: list[float] = option(
        [0.5, 1, 3, 5],
        about="focusing parameters of the bound, beside each run's own, and of the posterior "
        "problem",
        choose="of the bound, beside each run's own, and of the posterior problem",
        minItems=1,
        uniqueItems=True,
        items={"type": "number", "minimum": 0, "maximum": 1000},
    )
    points: int = option(
        100,
        about="samples per run that are differentiated and drawn",
        choose="samples per run that are differentiated and drawn",
        minimum=2,
        maximum=20000,
    )
    steps: int = option(
        1000,
        about="training steps of the posterior problem",
        choose="training steps of the posterior problem (1,000 take 5 seconds of a core)",
        minimum=1,
    )

    def problems(self, runs: Sequence[RunSpec]) -> Iterator[str]:
        """Say also if there is nothing but cross-entropy."""
        lines = list(super().problems(runs))
        if not lines and not any(run.objective.gamma for run in self.select(runs)):
            lines.append(
                "objectives: needs a focal run: give objectives.focal.gamma a value above 0"
            )
        yield from lines


def measure(work: Work, settings: Theory) -> Mapping[str, Rows]:
    """Hold theory against the predictions of completed runs, and solve the posterior problem."""
    from focal_curvature.analysis import logit_curvature, synthetic, theory

    tables: dict[str, Rows] = {name: [] for name in TABLES}
    for run in work.completed:
        arrays = run.logits()
        logits, labels = arrays["test_logits"], arrays["test_labels"]
        gamma = run.spec.objective.gamma
        keys = {key: run.keys[key] for key in KEYS}
        gammas = sorted({gamma, *settings.gammas})
        rows = theory.bound(theory.describe(logits, labels), gammas)
        tables["bound"] += [keys | {"trained_gamma": gamma} | row for row in rows]
        if gamma:
            summary, points = logit_curvature.compare(logits, labels, gamma, settings.points)
            keys |= {"gamma": gamma, "classes": logits.shape[1]}
            tables["logit_curvature"].append(keys | summary)
            if run.spec.seed == settings.seed:
                tables["predictions"] += [keys | point for point in points]
    posterior = synthetic.experiment(
        sorted(settings.gammas),
        settings.steps,
        derive_seed("posterior", settings.seed),
        shown=settings.points,
    )
    names = ("posterior", "posterior_points", "posterior_plane")
    return tables | dict(zip(names, posterior, strict=True))


STAGE = Stage(
    Theory,
    TABLES,
    measure,
    "Hold theory against predictions and a known posterior",
    needs="logits.npz",
    per_model=False,
)
