"""What one run is, and the expansion of a configuration into runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from focal_curvature.registry import import_path


def number_text(value: float | str) -> str:
    """Write a number in one way only: 1.0 and 1 are "1", 5e-4 is "0.0005"; text stays as it is."""
    if isinstance(value, str):
        return value
    return f"{Decimal(str(value)).normalize():f}"


@dataclass(frozen=True)
class Objective:
    """A training objective: a loss and the values of its parameters.

    Attributes
    ----------
    name : str
        The key in the configuration: a registered loss, or a name of the user's choice.
    factory : str
        Import path of the loss factory, ``package.module:factory``.
    parameters : dict
        Keyword arguments of the factory.
    """

    name: str
    factory: str
    parameters: dict[str, Any]

    @property
    def slug(self) -> str:
        """Name of the objective in paths: ``ce``, ``focal-2``, ``mine-alpha0.1-beta2``."""
        if self.is_cross_entropy:
            return "ce"
        if len(self.parameters) == 1:
            return f"{self.name}-{number_text(next(iter(self.parameters.values())))}"
        values = (f"{key}{number_text(self.parameters[key])}" for key in sorted(self.parameters))
        return "-".join([self.name, *values])

    @property
    def gamma(self) -> float | None:
        """The focusing parameter of the focal family, else None."""
        return self.parameters.get("gamma") if self.name == "focal" else None

    @property
    def is_cross_entropy(self) -> bool:
        """Whether this is plain cross-entropy, which is focal loss at gamma zero."""
        return self.name == "focal" and self.parameters == {"gamma": 0}


CROSS_ENTROPY = Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 0})


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides a run's weights, apart from the data.

    Attributes
    ----------
    dataset, model : str
        Names as in the configuration.
    model_factory : str
        Import path of the model factory.
    model_arguments : dict
        Keyword arguments of the factory beyond the data's.
    objective : Objective
        What is minimised.
    seed : int
        Index of the repetition.
    training : dict
        Settings of the training loop, the model's own overrides applied.
    """

    dataset: str
    model: str
    model_factory: str
    model_arguments: dict[str, Any]
    objective: Objective
    seed: int
    training: dict[str, Any]

    @property
    def folder(self) -> str:
        """Path of the run inside its experiment: ``<model>/<objective>/seed<k>``."""
        return f"{self.model}/{self.objective.slug}/seed{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> RunSpec:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**description, "objective": Objective(**description["objective"])})


def objectives(config: Mapping[str, Any]) -> list[Objective]:
    """Expand the ``objectives`` of a configuration: the product of each loss's parameter lists."""
    found = []
    for name, grid in config["objectives"].items():
        grid = dict(grid)
        factory = import_path("losses", grid.pop("factory", name))
        lists = [value if isinstance(value, list) else [value] for value in grid.values()]
        found += [
            Objective(name, factory, dict(zip(grid, values, strict=True)))
            for values in itertools.product(*lists)
        ]
    return found


def expand(config: Mapping[str, Any]) -> list[RunSpec]:
    """Expand a validated configuration into its runs, in the order model, objective, seed."""
    return [
        RunSpec(
            dataset=config["data"]["name"],
            model=model,
            model_factory=import_path("models", settings.get("factory", model)),
            model_arguments=settings.get("arguments", {}),
            objective=objective,
            seed=seed,
            training=config["training"] | settings.get("training", {}),
        )
        for model, settings in config["models"].items()
        for objective in objectives(config)
        for seed in config["seeds"]
    ]
