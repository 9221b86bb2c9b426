"""Configurations: defaults, and one clear line per mistake.

What is allowed stands beside each setting (`focal_curvature.settings`, `focal_curvature.stages`)
and beside each loss and regulariser. From these the schema is made; this module words its errors
for a person, and checks what a schema cannot: names in the registries and the files behind import
paths.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from focal_curvature import registry
from focal_curvature.data import extent
from focal_curvature.data import names as dataset_names
from focal_curvature.data import side as side_of
from focal_curvature.runs import Objective, combinations, expand, objectives, variants
from focal_curvature.settings import NAME, option, read
from focal_curvature.settings import schema as schema_of
from focal_curvature.settings.calibration import Calibration
from focal_curvature.settings.curvature import Curvature
from focal_curvature.settings.data import Data
from focal_curvature.settings.jobs import Jobs
from focal_curvature.settings.training import Training
from focal_curvature.stages import stages

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


_FACTORY = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*(?!\n)$"
_KEYS = {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_]*(?!\n)$", "maxLength": 100}
_ASK = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "runtime": {"type": "integer", "minimum": 1, "description": "minutes"},
        "mem_mb": {"type": "integer", "minimum": 1, "description": "megabytes of main memory"},
    },
}
_SEED = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}


@dataclass(frozen=True)
class Model:
    """How a model is built and trained."""

    factory: str | None = option(
        None,
        about="import path of a factory of your own, package.module:factory",
        choose='import path of a factory of your own: `mine: {factory: "package.module:factory"}`',
        pattern=_FACTORY,
    )
    arguments: dict[str, Any] = option(
        {},
        about="keyword arguments of the factory",
        choose="for the factory, as `{width: 16}`",
        propertyNames={"type": "string"},
    )
    training: dict[str, Any] = option(
        {},
        about="training settings that differ for this model",
        choose="settings of `training` that differ for this model",
    )
    resources: dict[str, dict[str, int]] = option(
        {},
        about="what this model's jobs ask a cluster for at first, in place of our estimate",
        choose="what a cluster job of this model asks for at first, by stage, in place of our "
        "estimate: `{train: {runtime: 600, mem_mb: 16000}}` (minutes, megabytes; also `curvature`, "
        "`calibration`). Changes no result",
        additionalProperties=False,
        properties=dict.fromkeys(("train", "curvature", "calibration"), _ASK),
    )


_VARIED_DATA = ("train", "label_noise", "split_seed")


@dataclass(frozen=True)
class Variant:
    """Models trained otherwise, or on other data; each is a model of its own."""

    training: dict[str, Any] = option(
        {},
        about="training settings that differ, each a value or a list of them",
        choose="settings of `training` that differ, each a value or a list of them",
    )
    data: dict[str, Any] = option(
        {},
        about="what differs in the training data, each a value or a list of them",
        choose="`train`, `label_noise` and `split_seed`, each a value or a list of them. With "
        "another number of training images or other labels, the test images stay as they are",
    )
    models: list[str] | None = option(
        None, about="which models, or null for all", choose="which models; `null`: all", minItems=1
    )


@dataclass(frozen=True)
class Experiment:
    """One file is one complete experiment. `focal_curvature.stages` has more keys."""

    experiment: str = option(
        about="name of the folders results/<experiment> and paper_figures/<experiment>",
        choose="name of `results/<experiment>` and `paper_figures/<experiment>`",
        pattern=NAME,
        maxLength=100,
        **{"not": {"const": "datasets"}},
    )
    data: Data = option(about="the data set and its splits")
    models: dict[str, Model] = option(
        about="models to train, by name",
        choose="names (files of `src/focal_curvature/models/`) or names of your own, each with:",
        minProperties=1,
        propertyNames=_KEYS,
        additionalProperties=schema_of(Model),
    )
    objectives: dict[str, dict[str, Any]] = option(
        about="losses to train with, each with a list of values for every parameter",
        choose="losses (files of `src/focal_curvature/losses/`) with a list of values per "
        "parameter, of which all combinations are run; or your own, with a `factory`: `mine: "
        '{factory: "package.module:factory", strength: [0.1, 1]}`',
        minProperties=1,
        propertyNames=_KEYS,
    )
    seeds: list[int] = option(
        about="one run of every cell per seed",
        choose="repetitions. At least five for an interval worth the name, and for any verdict. "
        "The same seed starts all objectives from the same weights and batches",
        minItems=1,
        uniqueItems=True,
        items=_SEED,
    )
    training: Training = option(about="how runs are trained")
    regularisers: dict[str, dict[str, Any]] = option(
        {},
        about="what is added to losses, each with a list of values for every parameter",
        choose="left out: none. What is added to losses, each an objective of its own "
        "(files of `src/focal_curvature/regularisers/`), with a list of values as for losses; or "
        "your own, with a `factory`. Zero is not allowed: that is the plain run. Optional "
        "parameters that are set become part of the run's name. `objectives` says to which losses "
        "it is added, by their folders' names, as `[ce, focal-3]`; left out: to cross-entropy",
        propertyNames=_KEYS,
    )
    variants: dict[str, Variant] = option(
        {},
        about="models trained otherwise, or on other data, by name",
        choose="left out: none. Other ways of training the same models, each crossed with all "
        "objectives and seeds: `adam: {training: {optimizer: adam, learning_rate: 0.001}}` makes "
        "`lenet-adam` beside `lenet`, and a list of values makes one of each: `epochs: {training: "
        "{epochs: [3, 5]}}` makes `lenet-epochs-3` and `lenet-epochs-5`. The same seed starts all "
        "of them from the same weights. With:",
        propertyNames=_KEYS,
        additionalProperties=schema_of(Variant),
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto",
        about="where training and curvature run; auto takes a GPU if there is one",
        choose="`auto` takes cuda, then cpu. Results of different devices agree only to "
        "rounding; moving on does not retrain what is there",
    )
    kernels: Literal["native", "portable"] = option(
        "portable",
        about="CPU kernels, of the processor's own instruction set, or those of AVX2 everywhere",
        choose="`portable`: those of AVX2 on every x86-64 processor (`ATEN_CPU_CAPABILITY`, "
        "`ONEDNN_MAX_CPU_ISA`, `MKL_CBWR`), so that processors with and without AVX-512 train the "
        "same weights to the bit, see [docs/determinism.md](../docs/determinism.md). `native`: the "
        "fastest that the processor has. Of no effect on a GPU",
    )
    threads: int = option(
        1,
        about="CPU threads per training or curvature job; part of what makes a run repeatable",
        choose="of one training or curvature job. More threads change the order of sums and so the "
        "last bits. Small models: 1, and let Snakemake run several jobs",
        minimum=1,
    )
    curvature: Curvature = option(
        Curvature(), about="what is measured on the trained weights, and how"
    )
    calibration: Calibration = option(Calibration(), about="how predictions are scored")
    jobs: Jobs = option(Jobs(), about="how many runs one job serves; each run keeps its own files")


@cache
def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a configuration; not to be changed."""
    rule = schema_of(Experiment)
    for section, kind, more in (
        ("objectives", "losses", {}),
        ("regularisers", "regularisers", _ADDED_TO),
    ):
        rule["properties"][section] |= {
            "properties": {
                name: _parameters(about.get("parameters", {}), more)
                for name, about in registry.about(kind).items()
            },
            "additionalProperties": _parameters({}, more),
        }
    for name, stage in stages().items():
        about = (stage.settings.__doc__ or "").partition("\n")[0].rstrip(".")
        rule["properties"][name] = schema_of(stage.settings) | {
            "type": ["object", "null"],
            "default": None,
            "description": f"{about}; or null for none",
            "choose": f"left out or `null`: none. Otherwise: {about[0].lower()}{about[1:]}",
        }
    return rule


_ADDED_TO = {
    "objectives": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "uniqueItems": True,
        "description": "losses that it is added to, by their folders' names, such as focal-3",
    }
}


def _parameters(known: Mapping[str, Mapping[str, Any]], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a loss's or regulariser's parameters: lists of values."""
    return {
        "type": "object",
        "properties": {
            "factory": {
                "type": "string",
                "pattern": _FACTORY,
                "description": "import path of a factory of your own, package.module:factory",
            }
        }
        | more
        | {name: _values(dict(limits)) for name, limits in known.items()},
        "additionalProperties": _values({}),
    }


def _values(limits: dict[str, Any]) -> dict[str, Any]:
    choose = limits.pop("choose", None)
    one = {"type": "number"} | limits
    rule = one | {"type": [one["type"], "array"], "items": one, "minItems": 1, "uniqueItems": True}
    return rule | ({"choose": choose} if choose else {})


RESERVED = {"factory", "objectives"}  # keys of a loss or regulariser that are no parameters
LONGEST = 200  # characters of an objective's folder; file systems take 255 bytes


class ConfigError(ValueError):
    """A configuration is wrong; the message has a line per mistake: key, value, what is allowed."""


def load(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration and fill in the defaults.

    Parameters
    ----------
    config : mapping
        As read from YAML.

    Returns
    -------
    dict
        A complete copy; ``config`` is left as it was.

    Raises
    ------
    ConfigError
        If anything is not allowed.
    """
    try:
        problems = _not_plain(config)
    except RecursionError:
        raise ConfigError(
            "the configuration contains itself: write it without YAML's * and &"
        ) from None
    problems += [line for error in _errors(config, schema()) for line in _lines(error)]
    if not problems:
        full = complete(config)
        problems += dict.fromkeys(_overrides(full))
        problems = problems or _inconsistent(full)
        full["models"] = full["models"] if problems else variants(full)
        problems = problems or _inconsistent(full)
        problems = problems or [*_without_effect(full)]
        problems = problems or _stages(full)
    if problems:
        raise ConfigError("\n".join(problems))
    return full


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with all defaults, unchecked: what it names may be elsewhere."""
    full = _with_defaults(_one_spelling(config), schema())
    for section in ("objectives", "regularisers"):
        for grid in full[section].values():
            grid |= {
                key: [value]
                for key, value in grid.items()
                if key not in ("factory", "objectives") and not isinstance(value, list)
            }
    return full


def once(text: str) -> str:
    """Return YAML or JSON as it is, if no mapping has a key twice: YAML would take the last.

    Raises
    ------
    ConfigError
        If one has; a line for each such key, with the lines in which it is.
    yaml.YAMLError
        If it is neither.
    """
    # Tabs are for JSON, which may be indented by them.
    tree = yaml.compose(text.replace("\t", " "), yaml.SafeLoader)
    if problems := [*_twice(tree, (), set())]:
        raise ConfigError("\n".join(problems))
    return text


def _twice(node: yaml.Node | None, path: tuple[Any, ...], seen: set[int]) -> Iterator[str]:
    if id(node) in seen:  # by YAML's * and &
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        places: dict[tuple[Any, ...], list[int]] = {}
        for key, _ in node.value:
            places.setdefault((key.tag, str(key.value)), []).append(key.start_mark.line + 1)
        for (_, name), lines in places.items():
            if len(lines) > 1:
                where = " and ".join(map(str, lines))
                yield f"{_where((*path, name))}: is there twice, in lines {where}: every key once"
        for key, value in node.value:
            yield from _twice(value, (*path, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _twice(value, (*path, index), seen)


def as_yaml(value: Any) -> Any:
    """Return a value with the text in its lists and mappings read as YAML: numbers, true, null."""
    if isinstance(value, Mapping):
        return {key: as_yaml(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_yaml(item) for item in value]
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        return value


def load_claims(claims: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Check the rules by which claims are judged, given as read from YAML; return a copy.

    Raises
    ------
    ConfigError
        If anything is not allowed.
    """
    try:
        schema = _with_claim_tests(schema)
    except ValueError as error:  # a kind of the user's own
        raise ConfigError(str(error)) from error
    problems = _not_plain(claims) + [e for error in _errors(claims, schema) for e in _lines(error)]
    problems = problems or _undeclared(claims)
    if problems:
        raise ConfigError("\n".join(problems))
    return dict(claims)


def _with_claim_tests(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give the schema of claims the keys of every registered kind of test."""
    schema = copy.deepcopy(dict(schema))
    about = schema["properties"]["claims"]["additionalProperties"]
    common = about["properties"]
    common["test"]["enum"] = list(registry.names("claim_tests"))
    about["allOf"] = []
    for name, path in registry.names("claim_tests").items():
        keys = registry.constant(path, "KEYS")
        optional = [*registry.constant(path, "OPTIONAL"), "power"]
        every = {**common, "test": True, **keys}
        rule = {
            "additionalProperties": False,
            "properties": every,
            "required": [key for key in every if key not in optional],
        }
        condition = {"required": ["test"], "properties": {"test": {"const": name}}}
        about["allOf"].append({"if": condition, "then": rule})
    return schema


def _undeclared(claims: Mapping[str, Any]) -> list[str]:
    """Find outcomes, measures and claims that claims name and the rules do not have."""
    lists = {"outcomes": "outcomes", "outcomes_beside": "outcomes", "measures": "measures"}
    lines = []
    for name, claim in claims["claims"].items():
        for key, section in lists.items():
            lines += [
                f"claims.{name}.{key}: {registry.unknown(value, list(claims[section]))}"
                for value in claim.get(key, [])
                if value not in claims[section]
            ]
        lines += [
            f"claims.{name}.of.{key}: {registry.unknown(other, list(claims['claims']))}"
            for key, other in claim.get("of", {}).items()
            if other not in claims["claims"]
        ]
    return lines


# A JSON schema takes 60.0 for an integer; Python's range does not.
_Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def _errors(instance: Any, schema: Mapping[str, Any]) -> list[ValidationError]:
    return sorted(_Validator(schema).iter_errors(instance), key=lambda e: e.json_path)


def _with_defaults(instance: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    others = schema.get("additionalProperties")
    for key, rule in schema.get("properties", {}).items():
        if "default" in rule:
            instance.setdefault(key, copy.deepcopy(rule["default"]))
    for key, value in instance.items():
        rule = schema.get("properties", {}).get(key, others)
        if isinstance(value, dict) and isinstance(rule, Mapping):
            _with_defaults(value, rule)
    return instance


def _one_spelling(node: Any) -> Any:
    """Copy, with whole numbers as int: 2 and 2.0 are one value and must not be two runs."""
    if isinstance(node, Mapping):
        return {key: _one_spelling(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_one_spelling(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def _where(path: Any) -> str:
    parts = (p if isinstance(p, int) or str(p).isprintable() else repr(p) for p in path)
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")


def _lines(error: ValidationError) -> Iterator[str]:
    """Word one schema error: the key, the value found, what is allowed."""
    key, value, rule = _where(error.absolute_path), error.instance, error.validator_value
    prefix = f"{key}: " if key else ""
    match error.validator:
        case "additionalProperties":
            known = list(error.schema.get("properties", {}))
            for extra in sorted(set(value) - set(known), key=str):
                place = _where([*error.absolute_path, str(extra)])
                yield f"{place}: {registry.unknown(str(extra), known)}"
        case "required":
            for missing in sorted(set(rule) - set(value)):
                about = error.schema["properties"][missing].get("description", "")
                place = _where([*error.absolute_path, missing])
                yield f"{place}: is missing{f' ({about})' if about else ''}"
        case "type":
            allowed = " or ".join(_TYPES[t] for t in ([rule] if isinstance(rule, str) else rule))
            yield f"{prefix}{value!r} is not {allowed}{_number_hint(value, rule)}"
        case "enum":
            yield f"{prefix}{registry.unknown(str(value), [str(v) for v in rule])}"
        case "minimum":
            yield f"{prefix}{value!r} is too small: at least {rule}"
        case "exclusiveMinimum":
            yield f"{prefix}{value!r} is too small: more than {rule}"
        case "maximum":
            yield f"{prefix}{value!r} is too large: at most {rule}"
        case "exclusiveMaximum":
            yield f"{prefix}{value!r} is too large: less than {rule}"
        case "dependentRequired":
            yield f"{prefix}{error.message}"
        case "uniqueItems":
            twice = sorted({str(v) for i, v in enumerate(value) if v in value[:i]})
            yield f"{prefix}{value!r} holds {', '.join(twice)} twice: every value once"
        case "minItems" | "minProperties":
            given = f"has {len(value)}" if value else "is empty"
            yield f"{prefix}{given}: at least {rule} must be given"
        case "maxLength":
            yield f"{prefix}{value[:20]!r}... has {len(value)} characters: at most {rule}"
        case "not":
            yield f"{prefix}{value!r} is taken: choose another name"
        case "pattern":
            yield f"{prefix}{value!r} is not allowed: it must match {rule}"
        case _:
            yield f"{prefix}{error.message}"


def _number_hint(value: Any, allowed: str | list[str]) -> str:
    """Say what to write for a number that YAML 1.1 reads as text, such as 5e-4."""
    if isinstance(value, float) and value.is_integer():
        return f": write {value:.0f}"
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if "number" not in allowed:
        whole = "integer" in allowed and number.is_integer()
        return f": YAML reads it as text, write {number:.0f} without quotes" if whole else ""
    mantissa, exponent, power = value.lower().partition("e")
    if exponent and "." not in mantissa:
        sign = "" if power[0] in "+-" else "+"
        return f": YAML reads it as text, write {mantissa}.0e{sign}{power}"
    return f": YAML reads it as text, write {number!r} without quotes"


def _not_plain(node: Any, path: tuple[Any, ...] = ()) -> list[str]:
    """Find what a schema lets pass and JSON has no word for: .nan, .inf, dates, bytes, sets."""
    if isinstance(node, float) and not math.isfinite(node):
        return [f"{_where(path)}: {node} is not allowed: numbers must be finite"]
    if node is not None and not isinstance(node, Mapping | list | str | int | float):
        return [f"{_where(path)}: {node!r} is not allowed: quote it to make it text"]
    items = (
        node.items()
        if isinstance(node, Mapping)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [line for key, value in items for line in _not_plain(value, (*path, key))]


def _inconsistent(config: Mapping[str, Any]) -> list[str]:
    lines = []
    data = config["data"]
    known = dataset_names()
    side = None
    if data["source"] is None and data["name"] not in known:
        lines.append(f"data.name: {registry.unknown(data['name'], known)}, or give data.source")
    if data["source"] is not None and data["name"] in known:
        lines.append(f"data.name: '{data['name']}' is a known data set: name your own otherwise")
    if data["source"] is not None:
        try:
            missing = not Path(data["source"]).exists()
        except (OSError, ValueError):  # too long, no permission, a zero byte
            missing = True
        if missing or not data["source"].isprintable():
            source = repr(data["source"]) if not data["source"].isprintable() else data["source"]
            lines.append(f"data.source: {source} does not exist: give a folder or a file")
        elif set(data["source"]) & set("{}"):
            lines.append(
                f"data.source: {data['source']} holds braces, Snakemake's wildcards: rename it"
            )
    if not lines:
        try:
            side = side_of(data)
            lines += dict.fromkeys(_impossible_sizes(config))
        except ValueError as error:
            lines.append(f"data.{error}")
    split = config["curvature"]["split"]
    wanted = [
        ("curvature.samples", split, config["curvature"]["samples"]),
        *((f"{stage}.samples", split, (config[stage] or {}).get("samples")) for stage in stages()),
        ("training.trace_samples", "train", config["training"]["trace_samples"]),
    ]
    wanted += [
        (f"models.{model}.training.trace_samples", "train", settings["training"]["trace_samples"])
        for model, settings in config["models"].items()
        if isinstance(settings["training"].get("trace_samples"), int)  # not checked yet
    ]
    lines += [
        f"{key}: {samples} is more than data.{split} has: at most {data[split]}"
        for key, split, samples in wanted
        if samples is not None and data[split] is not None and samples > data[split]
    ]
    lines += [
        f"{key}: {samples} is more than {model} is trained on: at most {most}"
        for model, settings in config["models"].items()
        if (most := settings.get("data", {}).get("train"))
        for key, split, samples in wanted
        if split == "train" and samples is not None and samples > most
    ]
    if config["curvature"]["halves"] and config["curvature"]["samples"] == 1:
        lines.append("curvature.samples: 1 has no two halves: 2 at least, or halves: false")
    stacks = {"training": config["training"]} | {
        f"models.{model}.training": settings["training"]
        for model, settings in config["models"].items()
    }
    lines += [
        f"{place}.stacked: true needs jobs.train: cell, not {config['jobs']['train']}: "
        "a job must serve several seeds to stack them"
        for place, settings in stacks.items()
        if settings.get("stacked") is True and config["jobs"]["train"] != "cell"
    ]
    lines += dict.fromkeys(_not_plain_steps(config))
    for kind, where in (
        ("models", "models"),
        ("losses", "objectives"),
        ("regularisers", "regularisers"),
    ):
        section = config[where]
        for key, settings in section.items():
            try:
                factory = registry.import_path(kind, settings.get("factory") or key)
                signature = registry.parameters(factory)
                least = registry.least_size(factory) if kind == "models" else 1
            except ValueError as error:
                lines.append(f"{where}.{key}: {error}")
                continue
            if side is not None and side < least:
                what = "vectors" if side == 1 else f"images of {side} pixels"
                lines.append(
                    f"{where}.{key}: takes images of at least {least} pixels, not {what}, which "
                    f"{data['name']} has"
                )
            if signature:
                given = settings["arguments"] if kind == "models" else settings.keys() - RESERVED
                place = f"{where}.{key}" + (".arguments" if kind == "models" else "")
                lines += _misfits(place, given, *signature, 3 if kind == "models" else 0)
    if not lines:
        try:
            every = objectives(config)
        except ValueError as error:
            return [str(error)]
        lines += [_too_long(objective) for objective in every if _is_too_long(objective.slug)]
        slugs = [objective.slug for objective in every]
        twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        if twice:
            lines.append(f"objectives: {', '.join(twice)} is there twice: every objective once")
    return lines


def _impossible_sizes(config: Mapping[str, Any]) -> Iterator[str]:
    """Say which splits the data do not have; may repeat lines. What only reading tells is left."""
    name, splits = config["data"]["name"], ("train", "validation", "test")
    images, classes, has_test = extent(config["data"])
    for model, settings in {"": {}, **config["models"]}.items():
        changes = settings.get("data", {})
        asked = {key: (config["data"] | changes)[key] for key in splits}
        if not has_test and asked["train"] is asked["test"] is None:
            yield f"data.test: is missing: {name} has no test set: give data.test or data.train"
        for key, size in asked.items():
            of = f" of {model}" if key in changes else ""
            if size is not None and classes is not None and size < classes:
                yield f"data.{key}: {size}{of} is too few: {name} has {classes} classes"
        # One of each that takes what is left, at least.
        if images is not None and sum(size or 1 for size in asked.values()) > images:
            key = max(asked, key=lambda key: (key in changes, asked[key] or 0))
            of = f" of {model}" if key in changes else ""
            yield (
                f"data.{key}: {asked[key]}{of} is too many: {name} has {images:,} images for "
                f"{', '.join(splits[:2])} and {splits[2]}"
            )


def _overrides(config: Mapping[str, Any]) -> Iterator[str]:
    """Check what models and variants change in the settings of training and data."""
    training = schema_of(Training) | {"required": []}
    known = schema_of(Data)["properties"]
    data = schema_of(Data) | {"required": [], "properties": {k: known[k] for k in _VARIED_DATA}}
    data["dependentRequired"] = {}
    parts = [
        (f"models.{model}", settings["training"], {})
        for model, settings in config["models"].items()
    ]
    for name, variant in config["variants"].items():
        if unusable := [*_unusable(f"variants.{name}", variant)]:
            yield from unusable
            continue
        parts += [(f"variants.{name}", *rest) for _, *rest in combinations(name, variant)]
        for model in variant["models"] or ():
            if model not in config["models"]:
                yield f"variants.{name}.models: {registry.unknown(model, config['models'])}"
    for place, *values in parts:
        for part, rule, value in zip(("training", "data"), (training, data), values, strict=True):
            for error in _errors(value, rule):
                yield from (f"{place}.{part}.{line}" for line in _lines(error))


def _stages(config: Mapping[str, Any]) -> list[str]:
    runs = expand(config)
    asked = {name: stage for name, stage in stages().items() if config[name]}
    lines = [
        f"{name}.{line}"
        for name, stage in asked.items()
        for line in read(stage.settings, config[name]).problems(runs)
    ]
    if side_of(config["data"]) == 1:
        lines += [
            f"{name}: is for images, not vectors, which {config['data']['name']} has: leave it out"
            for name, stage in asked.items()
            if stage.images
        ]
    return lines


def _unusable(place: str, variant: Mapping[str, Any]) -> Iterator[str]:
    """Say which lists of a variant have no values, or values that are none of one setting."""
    for part in ("training", "data"):
        for key, values in variant[part].items():
            if key == "milestones" or not isinstance(values, list):
                continue
            if not values:
                yield f"{place}.{part}.{key}: [] is empty: at least 1 must be given"
            if any(value in values[:i] for i, value in enumerate(values)):
                yield f"{place}.{part}.{key}: {values} holds one twice: every value once"
            for value in values:
                if isinstance(value, list | dict):
                    yield f"{place}.{part}.{key}: {value!r} is no single value"


# Of training -> whether a setting of it changes anything, and what it must go with.
_EFFECTS = {
    "momentum": (lambda t: t["optimizer"] == "sgd", "optimizer"),
    "nesterov": (lambda t: t["optimizer"] == "sgd" and t["momentum"], "optimizer", "momentum"),
    **dict.fromkeys(
        ("beta1", "beta2", "epsilon"), (lambda t: t["optimizer"] != "sgd", "optimizer")
    ),
    "schedule": (lambda t: t["schedule"] != "step" or t["milestones"], "milestones"),
    "milestones": (
        lambda t: t["schedule"] == "step" and all(m < t["epochs"] for m in t["milestones"]),
        *("schedule", "epochs"),
    ),
    "factor": (lambda t: t["schedule"] == "step", "schedule"),
}


def _without_effect(config: Mapping[str, Any]) -> Iterator[str]:
    """Say which settings of training change nothing in any model that has them from one place."""
    usual = schema_of(Training)["properties"]
    heeded: dict[str, bool] = {}
    lines = {}
    for model, settings in config["models"].items():
        training = config["training"] | settings["training"]
        original = config["models"][settings.get("architecture", model)]["training"]
        for key, (heeds, *others) in _EFFECTS.items():
            value = training[key]
            if value == usual[key]["default"]:
                continue
            if settings["training"].get(key) == original.get(key):
                own = settings.get("architecture", model) if key in original else None
            else:
                own = model
            place = f"models.{own}.training.{key}" if own else f"training.{key}"
            heeded[place] = heeded.get(place, False) or bool(heeds(training))
            against = " and ".join(f"{other}: {training[other]}" for other in others)
            lines.setdefault(place, f"{place}: {value} has no effect with {against}")
    yield from (line for place, line in lines.items() if not heeded[place])


def _not_plain_steps(config: Mapping[str, Any]) -> Iterator[str]:
    """Say where a regularised step is to be mixed or compiled; may repeat lines."""
    added = config["regularisers"].items()
    always = ", ".join(name for name, grid in added if 1 in grid.get("every", [1]))
    for model, settings in config["models"].items():
        training = config["training"] | settings["training"]
        for key, value, spelt, plain in (
            ("precision", "bfloat16", "bfloat16", "float32"),
            ("compile", True, "true", "false"),
        ):
            place = f"models.{model}." if key in settings["training"] else ""
            if training.get(key) == value and always:
                yield (
                    f"{place}training.{key}: {spelt} does not go with regularisers at every step "
                    f"({always}): take {plain}, or every: 2 or more where there is one"
                )


def _misfits(
    place: str, given: Iterable[str], names: list[str], needed: list[str], data: int
) -> list[str]:
    """Say which arguments a factory does not take or lacks; the first ``data`` are the data's."""
    free = names[data:]
    takes = f"it takes {', '.join(free)}" if free else "it takes none"
    lines = []
    for name in sorted(map(str, set(given) - set(free))):
        near = registry.unknown(name, free) if free else f"{name!r} is unknown: {takes}"
        lines.append(f"{place}.{name}: {near}")
    lines += [f"{place}.{name}: is missing: {takes}" for name in needed[data:] if name not in given]
    return lines


def _is_too_long(slug: str) -> bool:
    # Snakemake takes what repeats itself in a path twenty times for an endless rule.
    return len(slug) > LONGEST or bool(re.search(r"(.)\1{19}", slug))


def _too_long(objective: Objective) -> str:
    slug, added = objective.slug, objective.regulariser
    key = f"regularisers.{added.name}" if added else f"objectives.{objective.name}"
    return (
        f"{key}: {slug[:20]}... would name a folder with {len(slug)} "
        f"characters, at most {LONGEST}, or twenty equal ones in a row: give fewer digits"
    )
