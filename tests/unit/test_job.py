"""What a job leaves in its log, however it ends."""

import os
import signal
import subprocess
import sys

import pytest
from checkout import ROOT

# As Snakemake begins a script, and the script's own lines.
SCRIPT = """
from types import SimpleNamespace
snakemake = SimpleNamespace(rule="train", log=["job.log"], resources={{}})
import ctypes, logging, os, signal, sys, time, warnings
sys.path.insert(0, {scripts!r})
{before}
import job
def main(snakemake):
    logging.info("begun")
    {body}
job.run(main, snakemake)
"""


def script_of(body, before=""):
    return SCRIPT.format(scripts=str(ROOT / "workflow/scripts"), body=body, before=before)


def end(folder, body, before=""):
    """Run a job; return its exit status, its log and what is on the screen."""
    script = script_of(body, before)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, stderr=subprocess.PIPE, encoding="utf-8"
    )
    return done.returncode, (folder / "job.log").read_text(encoding="utf-8"), done.stderr


@pytest.mark.parametrize(
    ("body", "name", "hint"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", "want of memory"),
        ("os.abort()", "SIGABRT", "a library crashed"),
        ("ctypes.string_at(0)", "SIGSEGV", "a library crashed"),
    ],
)
def test_the_last_line_says_by_what_signal_a_job_was_killed(tmp_path, body, name, hint):
    status, log, screen = end(tmp_path, body)
    number = getattr(signal, name)
    assert status == 128 + number
    last = log.splitlines()[-1]
    assert f"killed by signal {number:d} ({name})" in last and hint in last
    assert hint in screen
    # Of a crash there is the stack too.
    assert ("most recent call first" in log) == (hint == "a library crashed")


def test_a_stopped_job_stops_and_says_so(tmp_path):
    script = script_of("time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    log = tmp_path / "job.log"
    while not log.exists() or "begun" not in log.read_text(encoding="utf-8"):
        assert process.poll() is None
        os.sched_yield()
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert "asked to stop" in log.read_text(encoding="utf-8").splitlines()[-1]


SIGNALLED = """
fork = os.fork
def signalled():
    child = fork()
    if child:
        os.kill(os.getpid(), signal.{name})
    return child
os.fork = signalled
"""


def test_a_job_that_is_stopped_while_it_starts_says_so_too(tmp_path):
    status, log, _ = end(tmp_path, "time.sleep(60)", SIGNALLED.format(name="SIGTERM"))
    assert status == 128 + signal.SIGTERM
    assert "asked to stop" in log.splitlines()[-1]


def test_an_interrupt_while_a_job_starts_leaves_its_watcher_alone(tmp_path):
    status, log, screen = end(tmp_path, "pass", SIGNALLED.format(name="SIGINT"))
    assert status == 0 and "begun" in log and not screen


def test_the_screen_has_what_went_wrong_and_the_log_what_is_ours(tmp_path):
    body = (
        'logging.getLogger("fontTools.subset").info("glyf pruned"); '
        'logging.getLogger("fontTools.subset").warning("no glyphs"); '
        'logging.getLogger("focal_curvature.training").info("epoch 1"); warnings.warn("careful")'
    )
    status, log, screen = end(tmp_path, body)
    assert status == 0
    assert "glyf pruned" not in log + screen
    assert all(text in log for text in ("begun", "no glyphs", "epoch 1", "careful"))
    assert "epoch 1" not in screen and "no glyphs" in screen and "careful" in screen


def test_a_mistake_is_one_line_and_a_fault_a_traceback(tmp_path):
    status, log, _ = end(tmp_path, 'raise ValueError("no such file")')
    assert status == 1
    assert log.endswith("ERROR train: no such file\n") and "Traceback" not in log
    status, log, _ = end(tmp_path, "{}['x']")
    assert status == 1
    assert "Traceback" in log
