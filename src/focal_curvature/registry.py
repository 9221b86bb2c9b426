"""Models, losses and regularisers by name, without importing them.

A name is whatever a file of ``focal_curvature.models``, ``focal_curvature.losses`` or
``focal_curvature.regularisers`` lists in its ``__all__``; anything else is an import path,
``package.module:factory``. Names are read from the source text, so that checking a configuration
does not import torch; so is what a file says of them in ``ABOUT``, beside ``__all__``:

- ``parameters``: name -> limits in JSON schema's words, and under ``choose`` how to choose a value;
- ``label``: the name in figures and tables;
- ``least_size``: of a model, the side in pixels of the smallest images that it takes;
- ``cost``: of a model, multiply-adds (millions) of a forward pass of one 3 x 32 x 32 image;
- ``steps``: of a regulariser, what a step costs in plain ones.
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
Kind = Literal["models", "losses", "regularisers", "claim_tests"]

LITERALS = ("__all__", "ABOUT", "PRODUCT")

# What gives a module names that its text does not have: a star import and such.
UNTOLD = {"*", "__getattr__", "globals", "vars", "setattr", "exec"}


@cache
def names(kind: Kind) -> dict[str, str]:
    """Return name -> import path of every registered factory of a kind."""
    return {
        name: f"{PACKAGE.name}.{kind}.{module}:{name}"
        for module, stated in _stated(kind).items()
        for name in stated.get("__all__", ())
    }


@cache
def about(kind: Kind) -> dict[str, dict[str, Any]]:
    """Return name -> what its file states of it, empty where it states nothing."""
    return {
        name: stated.get("ABOUT", {}).get(name, {})
        for stated in _stated(kind).values()
        for name in stated.get("__all__", ())
    }


def label(name: str) -> str:
    """Return the name of a model, loss or regulariser in figures and tables."""
    stated = about("models") | about("losses") | about("regularisers")
    return stated.get(name, {}).get("label", name.replace("_", " "))


@cache
def _stated(kind: Kind) -> dict[str, dict[str, Any]]:
    """Return module -> the values of its literals."""
    return {file.stem: literals(file) for file in sorted((PACKAGE / kind).glob("*.py"))}


def literals(file: Path) -> dict[str, Any]:
    """Return the values of what a file states of itself in literals: `LITERALS`."""
    return {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in LITERALS
    }


def constant(path: str, name: str) -> Any:
    """Return a module-level literal of an import path's module, read from the source text."""
    for node in ast.parse(source_file(path).read_text(encoding="utf-8")).body:
        target = getattr(node, "target", None) or next(iter(getattr(node, "targets", [])), None)
        if target is not None and ast.unparse(target) == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{path} has no {name}")


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
    except Exception as error:  # a package that fails when imported may raise anything
        raise ValueError(f"{path}: {module} cannot be imported: {error}") from error
    if spec is None or spec.origin is None:
        raise ValueError(f"{path}: no module named {module}")
    return Path(spec.origin)


def parameters(path: str) -> tuple[list[str], list[str]] | None:
    """Return the names that a factory takes, and those among them that it needs.

    Read from the source text, without importing it; of a class, its ``__init__``'s. None where the
    text does not tell: the factory is defined elsewhere, or takes any name.

    Raises
    ------
    ValueError
        If there is no such module, it is not valid Python, or it has no such name.
    """
    file, name = source_file(path), path.partition(":")[2]
    if file.suffix != ".py":
        return None
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"{path}: {file.name}, line {error.lineno}: {error.msg}") from error
    for node in tree.body:
        if getattr(node, "name", None) == name:
            skip = 0
            if isinstance(node, ast.ClassDef):
                inits = (n for n in node.body if getattr(n, "name", None) == "__init__")
                node, skip = next(inits, None), 1
            if not isinstance(node, ast.FunctionDef) or node.args.kwarg:
                return None
            given = node.args
            ordered = [argument.arg for argument in given.posonlyargs + given.args]
            needed = ordered[: len(ordered) - len(given.defaults)]
            needed += [
                argument.arg
                for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
                if default is None
            ]
            names = ordered + [argument.arg for argument in given.kwonlyargs]
            return names[skip:], needed[skip:]
    parts = ("name", "asname", "id")
    present = {getattr(node, part, None) for node in ast.walk(tree) for part in parts}
    if name not in present and present.isdisjoint(UNTOLD):
        raise ValueError(f"{path}: {file.name} defines no {name}")
    return None


def least_size(path: str) -> int:
    """Return the side in pixels of the smallest images that a model takes, 1 for vectors.

    As its module's ``ABOUT`` states; 1 where that says nothing.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    file, name = source_file(path), path.partition(":")[2]
    stated = literals(file) if file.suffix == ".py" else {}
    return int(stated.get("ABOUT", {}).get(name, {}).get("least_size", 1))


def unknown(name: str, known: dict[str, Any] | list[str]) -> str:
    """Say that a name is unknown, which known one is nearest, and which there are."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name!r} is unknown: {hint}known are {', '.join(sorted(known))}"
