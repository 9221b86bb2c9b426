import subprocess
from pathlib import Path

from focal_curvature import provenance


def test_a_process_asks_git_once_and_its_memory_anew(monkeypatch):
    real, asked, peaks = subprocess.run, [], iter([1.0, 2.0])

    def run(*arguments, **settings):
        asked.append(arguments)
        return real(*arguments, **settings)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(provenance, "_peak_memory_mb", lambda: next(peaks))
    provenance._constants.cache_clear()
    one = provenance.collect()
    once = len(asked)
    two = provenance.collect()
    assert len(asked) == once > 0
    assert (one.pop("peak_memory_mb"), two.pop("peak_memory_mb")) == (1.0, 2.0)
    assert one == two
    assert one["packages"]["torch"]


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_commit_is_dirty_where_sources_differ_and_not_where_figures_do(tmp_path):
    assert provenance.commit(Path("/")) is None
    files = [tmp_path / "paper_figures/a.png", tmp_path / "src/a.py"]
    git(tmp_path, "init")
    for file in files:
        file.parent.mkdir()
        file.write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message", "a")
    figure, source = files
    clean = provenance.commit(source.parent)
    assert len(clean) == 40
    figure.write_text("2")
    assert provenance.commit(source.parent) == clean
    source.write_text("2")
    assert provenance.commit(source.parent) == f"{clean}-dirty"
