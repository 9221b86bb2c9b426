"""The main process of a long run: it must not take more and more of a core."""

import re
import subprocess
import sys
from pathlib import Path

RULES = Path("workflow/rules/scheduling.smk").resolve()
# Tells the most timers that there were at a time: a chain is seen however slow the jobs are.
SNAKEFILE = """
import threading
most, start = [0], threading.Timer.start

def counted(timer):
    start(timer)
    alive = sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())
    most[0] = max(most[0], alive)

threading.Timer.start = counted

{include}

rule all:
    input: expand("{{i}}", i=range(30))

rule one:
    output: "{{i}}"
    shell: "touch {{output}}"

onsuccess:
    print("timers", most[0])
"""


def timers(folder, include):
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE.format(include=include))
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return int(re.search(r"timers (\d+)", done.stdout)[1])


def test_the_scheduler_has_one_timer_however_many_jobs_have_finished(tmp_path):
    assert timers(tmp_path / "without", "") > 5  # else Snakemake has mended it: the file can go
    # One may still be ending as the next one starts.
    assert timers(tmp_path / "with", f'include: "{RULES}"') <= 2
