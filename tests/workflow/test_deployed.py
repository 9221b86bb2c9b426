"""The workflow in other hands: a module from another repository, deployed, from elsewhere."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from checkout import ROOT, Checkout

from focal_curvature.stages import stages

SMOKE = ROOT / "config/smoke.yaml"
TAG = "v0.1.0"

# What `snakedeploy deploy-workflow` writes, but for the comments.
DEPLOYED = """
from snakemake.utils import min_version
min_version("6.10.0")

configfile: "config/config.yaml"

module focal_curvature:
    snakefile:
        github("someone/focal-curvature", path="workflow/Snakefile", tag="{tag}")
    config:
        config

use rule * from focal_curvature
"""

MODULE = """
configfile: "mine.yaml"

module theirs:
    snakefile: "{root}/workflow/Snakefile"
    config: config
    prefix: "theirs"

use rule * from theirs as their_*

rule all:
    default_target: True
    input: rules.their_all.input
"""


class Place(Checkout):
    """A folder of somebody else's, without this repository in it."""

    def __init__(self, folder):
        self.folder = folder

    def git(self, *arguments):
        subprocess.run(
            ["git", "-c", "user.name=someone", "-c", "user.email=someone@example.org", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """Return the environment in which github.com serves this repository from a local folder."""
    served = tmp_path_factory.mktemp("served")
    source = Place(served / "someone/focal-curvature")
    source.folder.mkdir(parents=True)
    for part in ("workflow", "src", "environment.yml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, source.folder / part)
    source.git("init", "--quiet")
    source.git("add", "--all")
    source.git("commit", "--quiet", "--message", "as it is")
    source.git("tag", TAG)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{served}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }


# As if the package were installed.
INSTALLED = {"PYTHONPATH": str(ROOT / "src")}
# One figure and the verdicts; test_smoke.py makes all.
WANTED = ("paper_figures/smoke/trace.png", "paper_figures/smoke/claims.json")


def test_a_deployed_workflow_runs_from_its_repository(remote, tmp_path):
    place = Place(tmp_path)
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text(DEPLOYED.format(tag=TAG))
    (tmp_path / "config").mkdir()
    # Without what is done beside the runs, which test_smoke.py does.
    config = yaml.safe_load(SMOKE.read_text())
    config = {key: value for key, value in config.items() if key not in stages()}
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(config))
    place.snakemake("--cores", "2", *WANTED, **remote, **INSTALLED)
    assert all((tmp_path / file).is_file() for file in WANTED)
    again = place.snakemake("--dry-run", *WANTED, **remote, **INSTALLED)
    assert "Nothing to be done" in again.stdout
    # Without a target, all that an experiment has.
    assert "figures_verdicts" in place.snakemake("--dry-run", **remote, **INSTALLED).stdout


def test_without_the_package_a_line_says_what_to_install(remote, tmp_path):
    (tmp_path / "Snakefile").write_text(DEPLOYED.format(tag=TAG))
    (tmp_path / "config").mkdir()
    shutil.copy2(SMOKE, tmp_path / "config/config.yaml")
    done = Place(tmp_path).snakemake("--dry-run", check=False, **remote, PYTHONPATH="")
    assert done.returncode == 1
    assert "pip install 'focal-curvature[workflow]" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_module_with_a_prefix_and_other_names_runs(tmp_path):
    (tmp_path / "Snakefile").write_text(MODULE.format(root=ROOT))
    shutil.copy2(SMOKE, tmp_path / "mine.yaml")
    place = Place(tmp_path)
    place.snakemake("theirs/paper_figures/smoke/runs.csv", "--cores", "2")
    planned = place.planned()
    assert "their_train" not in planned
    assert planned["their_figures_trace"] == 1
    assert planned["their_tables_claims"] == 1


def test_an_example_with_a_loss_of_one_s_own_runs_from_another_folder(tmp_path):
    shutil.copytree(ROOT / "examples/own_loss", tmp_path, dirs_exist_ok=True)
    runs = tmp_path / "paper_figures/own_loss/runs.csv"
    workflow = ("-s", str(ROOT / "workflow/Snakefile"))
    Place(tmp_path).snakemake(*workflow, "--cores", "2", str(runs.relative_to(tmp_path)))
    table = runs.read_text()
    assert "small_cnn/poly-1/seed1" in table
    assert table.count("completed") == 6


def test_the_default_configuration_is_one_file_under_both_names():
    assert (ROOT / "config/config.yaml").resolve() == (ROOT / "config.yaml").resolve()


def test_the_catalog_claims_what_is_tried():
    claims = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert not any(claims["software-stack-deployment"].values())


def test_the_example_with_a_model_of_one_s_own_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples/own_model.py"],
        cwd=tmp_path,
        env={**os.environ, **INSTALLED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Hessian of the mean loss: 400 samples") == 2
