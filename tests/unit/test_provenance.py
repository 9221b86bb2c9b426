import subprocess

from focal_curvature import provenance


def test_a_process_asks_git_once_and_its_memory_anew(monkeypatch):
    real, asked, peaks = subprocess.run, [], iter([1.0, 2.0])

    def run(*arguments, **settings):
        asked.append(arguments)
        return real(*arguments, **settings)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(provenance, "_peak_memory_mb", lambda: next(peaks))
    provenance._constants.cache_clear()
    one, two = provenance.collect(), provenance.collect()
    assert len(asked) == 1
    assert (one.pop("peak_memory_mb"), two.pop("peak_memory_mb")) == (1.0, 2.0)
    assert one == two
    assert one["packages"]["torch"]
