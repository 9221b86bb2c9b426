"""Build paper/report.pdf from the committed results: the compiler is in the package typst.

PYTHONPATH=src python tools/paper.py
"""

from __future__ import annotations

import json
from pathlib import Path

import typst
import yaml

from focal_curvature import registry

ROOT = Path(__file__).resolve().parents[1]


def configurations(root: Path) -> dict[str, str]:
    """Return each committed experiment's configuration, as a path from the root."""
    files = [root / "config.yaml", *sorted((root / "config").glob("*.yaml"))]
    names = {
        yaml.safe_load(file.read_text(encoding="utf-8")).get("experiment"): file for file in files
    }
    committed = sorted(file.parent.name for file in root.glob("paper_figures/*/claims.json"))
    return {name: str(names[name].relative_to(root)) for name in committed}


def labels() -> dict[str, str]:
    """Return the names in print of models, losses and penalties."""
    kinds = ("models", "losses", "regularisers")
    return {name: registry.label(name) for kind in kinds for name in registry.names(kind)}


def inputs(root: Path) -> dict[str, str]:
    """Return what the report is told, as JSON."""
    return {"configurations": json.dumps(configurations(root)), "labels": json.dumps(labels())}


def build(root: Path = ROOT) -> bytes:
    """Return the report as PDF; the same files give the same bytes.

    Raises
    ------
    typst.TypstError
        Where a file, or a number in it, is missing.
    """
    return typst.compile(str(root / "paper/report.typ"), root=str(root), sys_inputs=inputs(root))


if __name__ == "__main__":
    (ROOT / "paper/report.pdf").write_bytes(build())
