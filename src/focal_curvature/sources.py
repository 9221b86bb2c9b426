"""Which of our source files decide a result: the import closure of a module.

Declared as inputs of the rule that makes the result, so that editing the training loop retrains
and editing a plot does not.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from focal_curvature.files import sha256
from focal_curvature.registry import PACKAGE, source_file


def closure(*modules: str) -> list[Path]:
    """Return the files of this package that importing ``modules`` runs, sorted.

    Parameters
    ----------
    *modules : str
        Dotted names, such as ``focal_curvature.training``. Imports inside functions count too.

    Raises
    ------
    ValueError
        If a module is not part of this package.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if file is None:
            raise ValueError(f"{module} is not a module of {PACKAGE.name}")
        if file not in found:
            found.add(file)
            waiting += [name for name in _imports(module, file) if _file(name)]
    return sorted(found)


def factory_files(path: str) -> list[Path]:
    """Return the files behind a factory's import path: ours as a closure, a foreign one's own.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    module = path.partition(":")[0]
    return closure(module) if _file(module) else [source_file(path)]


def content_hash(files: Iterable[Path]) -> str:
    """Return one SHA-256 for the contents of several files, in the order given."""
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def _file(module: str) -> Path | None:
    head, *rest = module.split(".")
    if head != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest)
    candidates = (path / "__init__.py", path.parent / f"{path.name}.py")
    return next((file for file in candidates if file.is_file()), None)


@cache
def _imports(module: str, file: Path) -> list[str]:
    """List the dotted names that a file imports from; a submodule stands for itself.

    ``from package import submodule`` needs the submodule; the package's own ``__init__``, which
    only gathers names, is followed where a name is taken from it.
    """
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            found += [name if _file(name) else base for name in inner]
    return found
