"""Write environment.yml, for conda and mamba users, from requirements.lock: the same pins.

Without those that only tests and linters need: on standard input are the pins of what the workflow
needs, resolved by uv.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HEAD = """\
# Made from requirements.lock by `make lock`: do not edit.
name: focal-curvature
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def render(lock: str, names: Iterable[str]) -> str:
    """Return environment.yml: the pins that a requirements file with hashes has for ``names``."""
    wanted = set(names)
    pins = [line.removesuffix("\\").strip() for line in lock.splitlines() if "==" in line]
    kept = [pin for pin in pins if pin.partition("==")[0] in wanted]
    return HEAD + "".join(f'      - "{pin}"\n' for pin in kept)


if __name__ == "__main__":
    needed = [line.partition("==")[0] for line in sys.stdin if "==" in line]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (ROOT / "environment.yml").write_text(render(lock, needed), encoding="utf-8")
