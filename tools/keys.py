"""The table of keys in config/README.md, from what stands beside each setting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import measured

from focal_curvature.config import schema

TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true`, `false`",
    "array": "list",
    "object": "mapping",
    "null": "`null`",
}
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "{} or more",
}


def rows(rule: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, default, what is allowed and how to choose, of everything in a schema."""
    for key, inner in rule.get("properties", {}).items():
        text = inner.get("choose") or inner.get("description", "")
        if (inner.get("properties") or key == "models") and key != "resources":
            inside = [*rows(inner, f"{place}{key}.")]
            yield f"**`{place}{key}`**", "", "", text or ("" if inside else "takes no parameter")
            yield from inside
        elif key != "factory" or place == "models.<name>.":
            required = key in rule.get("required", ())
            default = "must be given" if required else _value(inner)
            yield f"`{place}{key}`", default, _allowed(inner), text
        others = inner.get("additionalProperties")
        if isinstance(others, dict) and others.get("required") == []:
            yield from rows(others, f"{place}{key}.<name>.")


def _value(rule: Mapping[str, Any]) -> str:
    if "default" not in rule:
        return ""
    return f"`{json.dumps(rule['default']).strip(chr(34))}`"


def _allowed(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    # A list of values: what each may be.
    limited = rule.get("items", rule)
    words = [LIMITS[key].format(limited[key]) for key in LIMITS if key in limited]
    return "; ".join([" or ".join(TYPES[kind] for kind in kinds), *words])


def table() -> str:
    """Return the table in Markdown."""
    return measured.table(["key", "default", "allowed", "how to choose it"], rows(schema()))
