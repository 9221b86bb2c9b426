"""Configurations: defaults, and one clear line per mistake.

The schema says what is allowed; this module words it for a person, and checks what a schema cannot:
names in the registries and the files behind import paths.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from focal_curvature import registry
from focal_curvature.data import names as dataset_names
from focal_curvature.runs import objectives

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


class ConfigError(ValueError):
    """A configuration is wrong; the message has a line per mistake: key, value, what is allowed."""


def load(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration and fill in the schema's defaults.

    Parameters
    ----------
    config : mapping
        As read from YAML.
    schema : mapping
        JSON schema, draft 2020-12, with ``default`` where a key may be left out.

    Returns
    -------
    dict
        A complete copy; ``config`` is left as it was.

    Raises
    ------
    ConfigError
        If anything is not allowed.
    """
    problems = [line for error in _errors(config, schema) for line in _lines(error)]
    problems += _not_finite(config)
    if not problems:
        complete = _with_defaults(_one_spelling(config), schema)
        problems += _inconsistent(complete)
        for model, settings in complete["models"].items():
            training = schema["properties"]["training"]
            partial = {**training, "required": []}
            problems += [
                f"models.{model}.training.{line}"
                for error in _errors(settings["training"], partial)
                for line in _lines(error)
            ]
    if problems:
        raise ConfigError("\n".join(problems))
    return complete


def _errors(instance: Any, schema: Mapping[str, Any]) -> list[ValidationError]:
    return sorted(Draft202012Validator(schema).iter_errors(instance), key=lambda e: e.json_path)


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
            yield f"{prefix}{value!r} is not {allowed}{_number_hint(value)}"
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
            yield f"{prefix}is empty: at least {rule} must be given"
        case "pattern":
            yield f"{prefix}{value!r} is not allowed: it must match {rule}"
        case _:
            yield f"{prefix}{error.message}"


def _number_hint(value: Any) -> str:
    """Say what to write for a number that YAML 1.1 reads as text, such as 5e-4."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    mantissa, exponent, power = value.lower().partition("e")
    if exponent and "." not in mantissa:
        sign = "" if power[0] in "+-" else "+"
        return f": YAML reads it as text, write {mantissa}.0e{sign}{power}"
    return f": YAML reads it as text, write {number!r} without quotes"


def _not_finite(node: Any, path: tuple[Any, ...] = ()) -> list[str]:
    """Find .nan and .inf, which pass a schema's ranges."""
    if isinstance(node, float) and not math.isfinite(node):
        return [f"{_where(path)}: {node} is not allowed: numbers must be finite"]
    items = (
        node.items()
        if isinstance(node, Mapping)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [line for key, value in items for line in _not_finite(value, (*path, key))]


def _inconsistent(config: Mapping[str, Any]) -> list[str]:
    lines = []
    data = config["data"]
    known = dataset_names()
    if data["source"] is None and data["name"] not in known:
        lines.append(f"data.name: {registry.unknown(data['name'], known)}, or give data.source")
    if data["source"] is not None and data["name"] in known:
        lines.append(f"data.name: '{data['name']}' is a known data set: name your own otherwise")
    if data["source"] is not None and not Path(data["source"]).exists():
        lines.append(f"data.source: {data['source']} does not exist: give a folder or an archive")
    geometry = config["geometry"]
    if geometry and geometry["seed"] not in config["seeds"]:
        lines.append(f"geometry.seed: {geometry['seed']} is none of seeds: {config['seeds']}")
    for kind, section in (("models", config["models"]), ("losses", config["objectives"])):
        where = "objectives" if kind == "losses" else kind
        for key, settings in section.items():
            try:
                registry.source_file(registry.import_path(kind, settings.get("factory", key)))
            except ValueError as error:
                lines.append(f"{where}.{key}: {error}")
    if not lines:
        slugs = [objective.slug for objective in objectives(config)]
        twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        if twice:
            lines.append(f"objectives: {', '.join(twice)} is there twice: every objective once")
    return lines
