"""Models and losses by name, without importing them.

A name is whatever a file of ``focal_curvature.models`` or ``focal_curvature.losses`` lists in its
``__all__``; anything else is an import path, ``package.module:factory``. Names are read from the
source text, so that checking a configuration does not import torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

PACKAGE = Path(__file__).parent
Kind = Literal["models", "losses"]


@cache
def names(kind: Kind) -> dict[str, str]:
    """Return name -> import path of every registered factory of a kind."""
    found = {}
    for file in sorted((PACKAGE / kind).glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [
                "__all__"
            ]:
                module = f"{PACKAGE.name}.{kind}.{file.stem}"
                found |= {name: f"{module}:{name}" for name in ast.literal_eval(node.value)}
    return found


def import_path(kind: Kind, name: str) -> str:
    """Return the import path that a name stands for; an import path stands for itself.

    Raises
    ------
    ValueError
        If the name is unknown: the message gives the nearest known one.
    """
    if ":" in name:
        return name
    known = names(kind)
    if name not in known:
        raise ValueError(unknown(name, known))
    return known[name]


def resolve(path: str) -> Callable[..., Any]:
    """Import ``package.module:factory`` and return the factory.

    Raises
    ------
    ValueError
        If the module or the factory does not exist.
    """
    module, _, factory = path.partition(":")
    try:
        return getattr(importlib.import_module(module), factory)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"{path} cannot be imported: {error}") from error


def source_file(path: str) -> Path:
    """Return the file that defines the module of an import path.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    module = path.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"{path}: no module named {module}")
    return Path(spec.origin)


def unknown(name: str, known: dict[str, Any] | list[str]) -> str:
    """Say that a name is unknown, which known one is nearest, and which there are."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name!r} is unknown: {hint}known are {', '.join(sorted(known))}"
