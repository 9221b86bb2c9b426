"""Write environment.yml from requirements.lock: the same pins, for conda and mamba users."""

from __future__ import annotations

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


def render(lock: str) -> str:
    """Return environment.yml for the text of a requirements file with hashes."""
    pins = [line.removesuffix("\\").strip() for line in lock.splitlines() if "==" in line]
    return HEAD + "".join(f'      - "{pin}"\n' for pin in pins)


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(render((ROOT / "requirements.lock").read_text()))
