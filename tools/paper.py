"""Build paper/report.pdf from the committed results: the compiler is in the package typst."""

from __future__ import annotations

import json
from pathlib import Path

import typst
import yaml

ROOT = Path(__file__).resolve().parents[1]


def configurations() -> dict[str, str]:
    """Return each committed experiment's configuration, as a path from the root."""
    files = [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]
    names = {
        yaml.safe_load(file.read_text(encoding="utf-8")).get("experiment"): file for file in files
    }
    committed = sorted(file.parent.name for file in ROOT.glob("paper_figures/*/claims.json"))
    return {name: str(names[name].relative_to(ROOT)) for name in committed}


def build() -> bytes:
    """Return the report as PDF; the same files give the same bytes."""
    inputs = {"configurations": json.dumps(configurations())}
    return typst.compile(str(ROOT / "paper/report.typ"), root=str(ROOT), sys_inputs=inputs)


if __name__ == "__main__":
    (ROOT / "paper/report.pdf").write_bytes(build())
