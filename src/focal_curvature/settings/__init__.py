"""Settings of an experiment: each a field with its type, default, limits, and how to choose it.

Nothing here imports torch, so that a configuration is checked in no time. The schema by which it is
checked and the table of keys in ``config/README.md`` are made from these fields.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", dict: "object"}
# JSON schema's word for a limit -> whether it holds, and how to say that it does not.
_LIMITS = {
    "minimum": (operator.ge, "below"),
    "exclusiveMinimum": (operator.gt, "not above"),
    "maximum": (operator.le, "above"),
    "exclusiveMaximum": (operator.lt, "not below"),
}
NAME = r"^[a-z][a-z0-9_]*(?!\n)$"


def option(default: Any = MISSING, *, about: str = "", choose: str = "", **limits: Any) -> Any:
    """Declare a setting.

    Parameters
    ----------
    default : object
        A setting without one must be given.
    about : str
        What it is, in a few words, for messages.
    choose : str
        How to choose it, in Markdown, for ``config/README.md``.
    **limits
        What is allowed, in JSON schema's own words, such as ``minimum=0``.
    """
    metadata = {"about": about, "choose": choose, "limits": limits}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(setting: Field[Any]) -> Any:
    """Return a field's default, ``dataclasses.MISSING`` where it has none."""
    if setting.default_factory is not MISSING:
        return setting.default_factory()
    return setting.default


def schema(settings: type) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a dataclass of settings."""
    hints = get_type_hints(settings)
    properties = {}
    for each in fields(settings):
        rule = _of_type(hints[each.name]) | each.metadata.get("limits", {})
        about, choose = (each.metadata.get(key) for key in ("about", "choose"))
        default = default_of(each)
        rule |= {"description": about} if about else {}
        rule |= {"choose": choose} if choose else {}
        if is_dataclass(default):
            rule["default"] = {}
        elif default is not MISSING:
            rule["default"] = default
        properties[each.name] = rule
    required = [each.name for each in fields(settings) if default_of(each) is MISSING]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required,
        **getattr(settings, "RULES", {}),
    }


def _of_type(annotation: Any) -> dict[str, Any]:
    if is_dataclass(annotation):
        return schema(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _of_type(arguments[0])}
    if origin is dict:
        return {"type": "object"}
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not types.NoneType)
        rule = _of_type(inner)
        return rule | {"type": [rule["type"], "null"]}
    return {"type": _TYPES[annotation]}


def require_allowed(settings: Any) -> None:
    """Raise ValueError for the first of a dataclass's settings with a value that is not allowed."""
    hints = get_type_hints(type(settings))
    for each in fields(settings):
        value, limits = getattr(settings, each.name), each.metadata.get("limits", {})
        hint = hints[each.name]
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ValueError(f"{each.name}: {value!r} is none of {', '.join(get_args(hint))}")
        for rule, (holds, words) in _LIMITS.items():
            if rule in limits and not holds(value, limits[rule]):
                raise ValueError(f"{each.name}: {value!r} is {words} {limits[rule]}")


def read(settings: Callable[..., T], mapping: Mapping[str, Any]) -> T:
    """Build settings from a checked mapping; whole numbers are accepted for fractions."""
    hints = get_type_hints(settings)
    return settings(
        **{
            key: read(hints[key], value) if is_dataclass(hints[key]) else value
            for key, value in mapping.items()
        }
    )
