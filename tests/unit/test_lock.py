"""pyproject.toml, requirements.lock and environment.yml say the same."""

import itertools
import re
import tomllib
from importlib import metadata
from pathlib import Path

import environment
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def pins(lines):
    found = {}
    for line in lines:
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def locked():
    return pins(
        line.removesuffix("\\").strip() for line in LOCK.splitlines() if re.match(r"[a-z]", line)
    )


def test_the_lock_meets_every_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for wanted in map(Requirement, itertools.chain(project["dependencies"], *extras)):
        if wanted.name == project["name"]:  # an extra that takes in others
            continue
        for pin in locked()[canonicalize_name(wanted.name)]:
            (version,) = pin.specifier
            assert version.operator == "=="
            assert wanted.specifier.contains(version.version), f"{wanted} is locked as {pin}"


def test_every_pin_carries_a_hash():
    blocks = re.split(r"\n(?=[a-z])", LOCK)
    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)


def environment_pins():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    (pip,) = (d["pip"] for d in yaml.safe_load(text)["dependencies"] if isinstance(d, dict))
    return pins(pip)


def test_environment_is_made_from_this_lock():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == environment.render(LOCK, environment_pins())
    assert environment_pins().items() <= locked().items()


def test_nothing_of_the_locking_machine_is_in_it():
    assert not re.search(r"https?://|find-links|index-url|file:", LOCK)


def test_environment_holds_what_the_workflow_needs_and_nothing_else():
    # Of what is installed here; markers of other systems and versions are uv's.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"]]
    for extra in ("calibration", "plots", "workflow"):
        declared += extras[extra]
    waiting, needed, elsewhere = [(Requirement(line), "") for line in declared], set(), set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            elsewhere.add(name)
            continue
        if name == project["name"]:
            continue
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in needed:
                needed.add((name, wanted))
                waiting += [(Requirement(r), wanted) for r in metadata.requires(name) or ()]
    needed = {name for name, _ in needed}
    assert needed <= environment_pins().keys()
    # On another system a package may be needed that only tests need here.
    installed = {canonicalize_name(d.name) for d in metadata.distributions()} - elsewhere
    assert environment_pins().keys() & installed <= needed
