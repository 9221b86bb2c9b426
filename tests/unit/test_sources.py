"""What counts as the source of a result."""

import ast
import importlib.util
import re

import pytest
from checkout import ROOT

from focal_curvature import registry
from focal_curvature.sources import closure, content_hash

SCRIPTS = ROOT / "workflow/scripts"
PACKAGE = ROOT / "src/focal_curvature"


def names(script, *factories):
    return {
        str(f.relative_to(ROOT)) for f in closure(SCRIPTS / f"{script}.py", factories) if f.exists()
    }


def test_training_needs_its_loop_and_not_the_figures():
    files = {name.removeprefix("src/focal_curvature/") for name in names("train")}
    assert {"training/loop.py", "training/schedule.py", "data/tensors.py", "runs.py"} <= files
    assert {"workflow/scripts/train.py", "workflow/scripts/job.py"} <= files
    assert not any(f.startswith(("plotting", "analysis", "curvature", "config")) for f in files)
    assert "calibration/binning.py" in files
    assert "calibration/temperature.py" not in files


def test_a_figure_needs_what_it_draws_with_and_its_style():
    files = names(
        "product", "focal_curvature.plotting.trace:prepare", "focal_curvature.plotting:write"
    )
    for file in ("trace.py", "curvature.py", "common.py", "matplotlibrc"):
        assert f"src/focal_curvature/plotting/{file}" in files
    assert "src/focal_curvature/plotting/reliability.py" not in files


def test_a_factory_of_the_users_own_counts_as_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_alone.py").write_text("def net(): ...\n")
    assert tmp_path / "mine_alone.py" in closure(SCRIPTS / "train.py", ["mine_alone:net"])
    with pytest.raises(ValueError, match="no_such"):
        closure(SCRIPTS / "train.py", ["no_such:net"])


def imported(file):
    """Files of ours that Python itself finds for the imports of a file."""
    text = ast.parse(file.read_text())
    inside = PACKAGE in file.parents
    package = ".".join(file.parent.relative_to(PACKAGE.parent).parts) if inside else None
    for node in ast.walk(text):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(relative, package)
            wanted = [(base, alias.name) for alias in node.names]
        else:
            continue
        for base, name in wanted:
            if (SCRIPTS / f"{base}.py").exists() and not inside:
                yield SCRIPTS / f"{base}.py"
            elif base.split(".")[0] == PACKAGE.name:
                spec = name and importlib.util.find_spec(base).submodule_search_locations
                inner = spec and importlib.util.find_spec(f"{base}.{name}")
                yield (inner or importlib.util.find_spec(base)).origin


@pytest.mark.parametrize("script", sorted(file.stem for file in SCRIPTS.glob("*.py")))
def test_whatever_a_script_imports_is_covered(script):
    factories = [path for kind in ("models", "losses", "regularisers") for path in
                 registry.names(kind).values()]  # fmt: skip
    files = closure(SCRIPTS / f"{script}.py", factories)
    for file in files:
        if file.suffix == ".py":
            assert {str(needed) for needed in imported(file)} <= set(map(str, files)), file


def test_every_data_file_is_named_by_a_module_beside_it():
    """Or a result that is made from it would not know of an edit. The page is no rule's."""
    # The rows of a data set are among the params of the rule that makes it, and no others.
    exempt = {"sources.csv", "py.typed"}
    for file in PACKAGE.rglob("*"):
        code = file.suffix in (".py", ".pyc") or file.is_dir()
        if not code and file.parent.name != "page" and file.name not in exempt:
            modules = [module.read_text() for module in file.parent.glob("*.py")]
            assert any(f'"{file.name}"' in text for text in modules), file


def test_every_rule_has_the_sources_of_its_own_script():
    """Given directly, or by a function that gives those of this script."""
    texts = [file.read_text() for file in sorted((ROOT / "workflow/rules").glob("*.smk"))]
    for rule in [rule for text in texts for rule in re.split(r"(?m)^ *rule\b", text)[1:]]:
        script = re.search(r'"../scripts/(\w+)\.py"', rule)[1]
        function = re.search(r"sources=(\w+)\(", rule)
        # An archive is what its hash says, whatever fetched it.
        if script == "download":
            assert not function
        elif function[1] in ("sources", "run_sources"):
            assert re.search(rf'sources=\w+\(\s*"{script}"', rule), script
        else:
            definition = rf'def {function[1]}\((?:(?!\ndef ).)*?sources\("{script}"'
            assert any(re.search(definition, text, re.DOTALL) for text in texts), script


def test_content_hash_sees_content_and_order(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("2")
    before = content_hash([a, b])
    assert content_hash([b, a]) != before
    a.write_text("3")
    assert content_hash([a, b]) != before
