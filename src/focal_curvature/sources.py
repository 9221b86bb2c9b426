"""Which of our source files decide a result: what the script that makes it imports and reads.

Hashed among the parameters of the rule that makes the result, so that editing the training loop
retrains and editing a plot does not.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from focal_curvature.files import sha256
from focal_curvature.registry import PACKAGE, source_file


def closure(script: Path, factories: Iterable[str] = ()) -> list[Path]:
    """Return the files that decide what a script computes, sorted.

    The script; what it imports from its own folder and from this package, directly or not, imports
    inside functions included; and files other than Python's that these name and that lie beside
    them. Not the ``__init__`` of a package from which a submodule alone is taken.

    Parameters
    ----------
    script : Path
    factories : iterable of str
        Import paths ``package.module:name`` of what the script is given to call. Of a module that
        is not ours its own file counts, not what it imports.

    Raises
    ------
    ValueError
        If there is no module of that name.
    """
    modules = [path.partition(":")[0] for path in factories]
    ours = [file for module in modules if (file := _file(module))]
    foreign = {source_file(module) for module in modules if not _file(module)}
    return sorted(_reached([script.resolve(), *ours]) | foreign)


def _reached(waiting: list[Path]) -> set[Path]:
    files: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting += _needs(file) if file.suffix == ".py" else ()
    return files


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
def _needs(file: Path) -> frozenset[Path]:
    """Return the files that a Python file imports, and those beside it that it names."""
    text = ast.parse(file.read_text(encoding="utf-8"))
    beside = {other.name: other for other in file.parent.iterdir() if other.is_file()}
    data = {name: other for name, other in beside.items() if other.suffix != ".py"}
    needs = {
        data[node.value]
        for node in ast.walk(text)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in data
    }
    for name in _imports(text, file):
        module = _file(name) or (None if PACKAGE in file.parents else beside.get(f"{name}.py"))
        needs |= {module} if module else set()
    return frozenset(needs)


def _imports(text: ast.Module, file: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports from; a submodule stands for itself.

    ``from package import submodule`` needs the submodule; the package's own ``__init__``, which
    only gathers names, is followed where a name is taken from it.
    """
    inside = PACKAGE in file.parents
    package = file.parent.relative_to(PACKAGE.parent).parts if inside else ()
    for node in ast.walk(text):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield submodule if _file(submodule) else base
