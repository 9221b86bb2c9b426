"""What `make` installs and removes, and when `make reproduce` makes the report again."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution

import install
import pytest
from checkout import ROOT

RUNS, FIGURE = "paper_figures/digits/runs.csv", "paper_figures/digits/trace.png"
REPORT = "results/digits/report.html"


@pytest.mark.parametrize(
    ("times", "made"),
    [
        ({RUNS: 1, FIGURE: 1}, True),
        ({RUNS: 1, FIGURE: 1, REPORT: 2}, False),
        ({RUNS: 3, FIGURE: 1, REPORT: 2}, True),
        ({RUNS: 1, FIGURE: 3, REPORT: 2}, True),
    ],
)
def test_the_report_is_made_where_it_is_not_the_newest(tmp_path, times, made):
    shutil.copy2(ROOT / "Makefile", tmp_path)
    folder = tmp_path / "paper_figures/digits/tables"
    folder.mkdir(parents=True)
    (folder / "summary.csv").touch()
    for file in times:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for file in tmp_path.rglob("*"):
        time = times.get(str(file.relative_to(tmp_path)), 1)
        os.utime(file, (time, time))
    command = ["make", "-o", "install", "reproduce", "SNAKEMAKE=echo ran"]
    # Without a report the list of files at the end fails.
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert (f"ran --report {REPORT}\n" in done.stdout.splitlines(keepends=True)) == made


def wheel(folder, name, version, files):
    """Write a wheel, and return its lines in a lock file."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            info = zipfile.ZipInfo(str(file))
            info.external_attr = 0o100755 << 16
            archive.writestr(info, content)
        listed = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
        archive.writestr(f"{about}/RECORD", listed)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n"


class Project:
    """The Makefile and the installer beside a lock of one small package, without a network."""

    def __init__(self, folder):
        self.folder = folder / "project"
        self.venv = self.folder / ".venv"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (self.folder / "tools").mkdir(parents=True)
        shutil.copy2(ROOT / "Makefile", self.folder)
        shutil.copy2(ROOT / "tools/install.py", self.folder / "tools")
        self.package = wheel(self.wheels, "tiny", "1.0", {"tiny.py": "answer = 42\n"})
        self.lock(self.package)

    def lock(self, text):
        (self.folder / "requirements.lock").write_text(text, encoding="utf-8")

    def make(self, *arguments, **environment):
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        # pip's own settings have to reach uv.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
        return subprocess.run(
            ["make", *arguments, f"PYTHON={sys.executable}"],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=inherited | offline | environment,
        )

    def answer(self):
        command = [self.venv / "bin/python", "-c", "import tiny; print(tiny.answer)"]
        return subprocess.run(command, text=True, capture_output=True).stdout.strip()


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_environment_is_made_once_and_anew_for_another_lock_alone(project):
    done = project.make("install")
    assert done.returncode == 0, done.stdout
    assert project.answer() == "42"
    assert "with pip" in done.stdout  # there is no uv in this lock
    assert done.stdout.startswith("Making the environment .venv\n")

    extra = project.venv / "extra"
    extra.touch()
    lock = project.folder / "requirements.lock"
    os.utime(lock, (2**31, 2**31))
    assert project.make("install").stdout == ""
    assert extra.exists()

    # Neither do times hide that the lock is another one.
    project.lock(wheel(project.wheels, "tiny", "1.1", {"tiny.py": "answer = 44\n"}))
    os.utime(lock, (1, 1))
    assert project.make("install").returncode == 0
    assert project.answer() == "44"
    assert not extra.exists()

    # Its programs name the place where it was made.
    moved = project.folder / "moved"
    project.venv.rename(moved)
    assert not install.is_complete(moved)
    assert project.make("clean", "VENV=moved").returncode == 0
    assert not moved.exists()


def test_uv_installs_where_it_can_be_had_with_what_pip_is_told(project, tmp_path):
    uv = distribution("uv")
    files = {str(file): file.locate().read_bytes() for file in uv.files if file.parts[0] == "uv"}
    scripts = f"uv-{uv.version}.data/scripts"
    files |= {f"{scripts}/uv": next(f for f in uv.files if f.name == "uv").locate().read_bytes()}
    project.lock(wheel(project.wheels, "uv", uv.version, files) + project.package)
    done = project.make("install", UV_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout
    assert "2 packages with uv" in done.stdout
    assert "packages with pip" not in done.stdout, done.stdout
    assert project.answer() == "42"


def test_a_wrong_hash_is_refused_and_the_next_call_begins_again(project):
    project.lock(project.package[:-5] + "0000\n")
    done = project.make("install")
    assert done.returncode != 0
    assert "could not be installed" in done.stdout
    assert project.answer() == ""
    project.lock(project.package)
    assert project.make("install").returncode == 0
    assert project.answer() == "42"


@pytest.mark.parametrize("target", ["install", "clean"])
def test_what_is_not_ours_is_left_as_it_is(project, tmp_path, target):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").touch()
    # A folder without our mark, and a link to one that has it.
    refused = project.make(target, f"VENV={theirs}")
    assert refused.returncode != 0
    assert "was not made by this Makefile" in refused.stdout
    (theirs / "focal-curvature.installed").touch()
    project.venv.symlink_to(theirs)
    refused = project.make(target)
    assert refused.returncode != 0
    assert ".venv is a link" in refused.stdout
    project.venv.unlink()
    # The name in the environment is another project's.
    if target == "clean":
        assert project.make("clean", VENV=str(theirs)).returncode == 0
    assert (theirs / "thesis.tex").exists()
