"""What one run is, and the expansion of a configuration into runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

from focal_curvature import registry
from focal_curvature.settings.training import Training


def number_text(value: float | str | None) -> str:
    """Write a number in one way only: 1.0 and 1 are "1", 5e-4 is "0.0005"; text stays as it is."""
    if value is None:
        return "null"
    if isinstance(value, str | bool):
        return str(value).lower() if isinstance(value, bool) else value
    return f"{Decimal(str(value)).normalize():f}"


def _label(name: str, parameters: Mapping[str, float]) -> str:
    if len(parameters) == 1:
        return f"{name}-{number_text(next(iter(parameters.values())))}"
    return "-".join([name, *(f"{key}{number_text(parameters[key])}" for key in sorted(parameters))])


def intervention(variant: str) -> str:
    """Return the name of a variant without its values: ``epochs`` of ``epochs-3``."""
    return variant.partition("-")[0]


@dataclass(frozen=True)
class Regulariser:
    """What changes the gradient of a loss: a name, a factory and the values of its parameters.

    Attributes are those of `Objective`, with a regulariser in place of the loss.
    """

    name: str
    factory: str
    parameters: dict[str, Any]

    @property
    def every(self) -> int:
        """Steps from one regularised step to the next."""
        return int(self.parameters.get("every", 1))


@dataclass(frozen=True)
class Objective:
    """A training objective: a loss and the values of its parameters, perhaps regularised.

    Attributes
    ----------
    name : str
        The key in the configuration: a registered loss, or a name of the user's choice.
    factory : str
        Import path of the loss factory, ``package.module:factory``.
    parameters : dict
        Keyword arguments of the factory.
    regulariser : Regulariser or None
        What changes the gradient of the loss.
    """

    name: str
    factory: str
    parameters: dict[str, Any]
    regulariser: Regulariser | None = None

    @property
    def slug(self) -> str:
        """Name in paths: ``ce``, ``focal-2``, ``mine-alpha0.1-beta2``, ``focal-3-sam-0.05``."""
        if self.regulariser:
            added = _label(self.regulariser.name, self.regulariser.parameters)
            return f"{self.base.slug}-{added}"
        return "ce" if self.is_cross_entropy else _label(self.name, self.parameters)

    @property
    def family(self) -> str:
        """The name of the regulariser, or of the loss: what differs in parameters shares it."""
        return (self.regulariser or self).name

    @property
    def base(self) -> Objective:
        """The loss alone, whose Hessian is measured."""
        return replace(self, regulariser=None)

    @property
    def gamma(self) -> float | None:
        """The focusing parameter of a focal loss, regularised or not; of other losses None."""
        return self.parameters.get("gamma") if self.name == "focal" else None

    @property
    def is_plain(self) -> bool:
        """Whether it is a loss alone."""
        return self.regulariser is None

    @property
    def is_focal(self) -> bool:
        """Whether it is a focal loss alone; cross-entropy is one, at gamma zero."""
        return self.is_plain and self.gamma is not None

    @property
    def is_cross_entropy(self) -> bool:
        """Whether it is cross-entropy alone."""
        return self.is_plain and self.gamma == 0

    @property
    def strength(self) -> float | None:
        """The first parameter of the regulariser, or of a loss other than focal, as declared."""
        part = self.regulariser or self
        if part.name == "focal":
            return None
        declared = registry.parameters(part.factory)
        names = declared[0] if declared else part.parameters
        return next((part.parameters[name] for name in names if name in part.parameters), None)


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
    training : Training
        Settings of the training loop, the model's own overrides applied.
    architecture : str
        Name in the configuration of what the model is a variant of, or its own.
    variant : str or None
        What it differs by.
    data : dict
        What decides its training data where that differs from the experiment's splits: the numbers
        of images ``train``, ``validation`` and ``test``, ``split_seed`` and ``label_noise``.
    """

    dataset: str
    model: str
    model_factory: str
    model_arguments: dict[str, Any]
    objective: Objective
    seed: int
    training: Training
    architecture: str = ""
    variant: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> str:
        """Path of the runs that differ by the seed alone: ``<model>/<objective>``."""
        return f"{self.model}/{self.objective.slug}"

    @property
    def folder(self) -> str:
        """Path of the run inside its experiment: ``<model>/<objective>/seed<k>``."""
        return f"{self.cell}/seed{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> RunSpec:
        """Read what :meth:`to_dict` wrote."""
        objective = dict(description["objective"])
        if objective.get("regulariser"):
            objective["regulariser"] = Regulariser(**objective["regulariser"])
        training = Training(**description["training"])
        return cls(**{**description, "objective": Objective(**objective), "training": training})


def objectives(config: Mapping[str, Any]) -> list[Objective]:
    """Expand the ``objectives`` and ``regularisers`` of a configuration: products of their lists.

    A regularised loss is an objective of its own.

    Raises
    ------
    ValueError
        If a regulariser is for a loss that there is not.
    """
    losses = [Objective(*loss) for loss in _grid("losses", config["objectives"])]
    bases = {objective.slug: objective for objective in [CROSS_ENTROPY, *losses]}
    regularised = []
    for name, grid in config.get("regularisers", {}).items():
        wanted = grid.get("objectives", [CROSS_ENTROPY.slug])
        for slug in wanted:
            if slug not in bases:
                place = f"regularisers.{name}.objectives"
                raise ValueError(f"{place}: {registry.unknown(slug, bases)}")
        parameters = {key: value for key, value in grid.items() if key != "objectives"}
        regularised += [
            replace(bases[slug], regulariser=Regulariser(*regulariser))
            for slug in wanted
            for regulariser in _grid("regularisers", {name: parameters})
        ]
    return losses + regularised


def _grid(
    kind: registry.Kind, section: Mapping[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, factory and parameters of each combination of a section's parameter lists."""
    for name, grid in section.items():
        grid = dict(grid)
        factory = registry.import_path(kind, grid.pop("factory", name))
        lists = [value if isinstance(value, list) else [value] for value in grid.values()]
        for values in itertools.product(*lists):
            yield name, factory, dict(zip(grid, values, strict=True))


def _own_data(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a run's training data, if that is not what the splits alone say."""
    if not changes and not data.get("label_noise"):
        return {}
    keys = ("train", "validation", "test", "split_seed", "label_noise")
    return {key: (data | changes)[key] for key in keys}


def variants(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a configuration's models with their variants, each a model of its own.

    A variant whose settings have lists stands for all combinations of their values.
    """
    models = dict(config["models"])
    for name, variant in config["variants"].items():
        for label, training, data in combinations(name, variant):
            for model in variant["models"] or config["models"]:
                base = config["models"][model]
                models[f"{model}-{label}"] = base | {
                    "factory": base["factory"] or model,
                    "training": base["training"] | training,
                    "data": data,
                    "architecture": model,
                    "variant": label,
                }
    return models


def combinations(
    name: str, variant: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield label, training and data of each combination of a variant's values."""
    places = [(part, key) for part in ("training", "data") for key in variant[part]]
    # The milestones of a schedule are a list by themselves.
    listed = [key != "milestones" and isinstance(variant[part][key], list) for part, key in places]
    grids = [
        variant[part][key] if many else [variant[part][key]]
        for (part, key), many in zip(places, listed, strict=True)
    ]
    for values in itertools.product(*grids):
        changes: dict[str, dict[str, Any]] = {"training": {}, "data": {}}
        for (part, key), value in zip(places, values, strict=True):
            changes[part][key] = value
        varied = {
            key: changes[part][key]
            for (part, key), many in zip(places, listed, strict=True)
            if many
        }
        yield _label(name, varied), changes["training"], changes["data"]


def expand(config: Mapping[str, Any]) -> list[RunSpec]:
    """Expand a validated configuration into its runs, in the order model, objective, seed."""

    def training(settings: Mapping[str, Any], objective: Objective) -> Training:
        shared = Training(**(config["training"] | settings.get("training", {})))
        # Decides nothing in a plain run.
        return shared if objective.regulariser else replace(shared, trace_samples=None)

    return [
        RunSpec(
            dataset=config["data"]["name"],
            model=model,
            model_factory=registry.import_path("models", settings.get("factory") or model),
            model_arguments=settings.get("arguments", {}),
            objective=objective,
            seed=seed,
            training=training(settings, objective),
            architecture=settings.get("architecture", model),
            variant=settings.get("variant"),
            data=_own_data(config["data"], settings.get("data", {})),
        )
        for model, settings in config["models"].items()
        for objective in objectives(config)
        for seed in config["seeds"]
    ]
