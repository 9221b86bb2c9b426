"""How every job logs and fails: on the screen and in its log, mistakes in one line."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What bad input or a bad setting raises: its message is enough, a traceback would bury it.
EXPECTED = (ValueError, OSError, FloatingPointError, MemoryError)

# Exit status of a job that was asked to stop (SIGTERM) and has kept its work: EX_TEMPFAIL.
STOPPED = 75

# The library of this checkout, and modules of the user's own beside the Snakefile.
sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src"), str(Path.cwd())]

from focal_curvature import allocator, devices  # noqa: E402  found by the path above

# Where to look, by the signal that ended a job.
KILLED = {
    signal.SIGKILL: "as a rule by the system for want of memory: see dmesg or, on Slurm, sacct's "
    "State and MaxRSS; ask for more with resources (config/README.md)",
    signal.SIGTERM: "asked to stop: a time limit, or a person",
    signal.SIGXCPU: "a limit on processor time: see ulimit -t",
}
CRASHED = "a library crashed, at the lines of Python above: see docs/faults.md"
_PR_SET_PDEATHSIG = 1  # of prctl(2)


def watch(log: Path) -> None:
    """Go on in a child, whose parent writes to the log by what signal it was killed, if it was.

    A killed process cannot say so itself, and its log would end in nothing. Called before anything
    large is imported, this costs two milliseconds.
    """
    # What asks to stop between the fork and the handler waits for it.
    held = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    child = os.fork()
    if not child:
        # Not left behind where the parent alone is killed.
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
        return
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    # A terminal sends this to both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        number = signal.Signals(-code)
        line = f"killed by signal {-code} ({number.name}), {KILLED.get(number, CRASHED)}"
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} ERROR {line}\n")
        print(f"{log}: {line}", file=sys.stderr, flush=True)
    os._exit(code if code >= 0 else 128 - code)


# Snakemake puts the name into the script that imports this; tests call `run` without.
if hasattr(sys.modules["__main__"], "snakemake"):
    watch(Path(sys.modules["__main__"].snakemake.log[0]))


def ours(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: of other libraries, warnings and errors alone."""
    return record.levelno >= logging.WARNING or record.name.startswith(("root", "focal_curvature"))


def run(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run a script's ``main(snakemake)`` with logging and exit: with status 1 if it fails.

    The log file has everything that is ours; the screen, which many jobs share, what went wrong.
    """
    screen = logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    file = logging.FileHandler(Path(snakemake.log[0]), mode="w", encoding="utf-8")
    file.addFilter(ours)
    handlers = [screen, file]
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=handlers,
        force=True,
    )
    logging.captureWarnings(True)
    # Where a library crashes, the log has the lines of Python that called it.
    faulthandler.enable(file.stream)
    # On a full disk the log is lost; the screen is not, and a traceback per line would bury it.
    logging.raiseExceptions = False
    allocator.keep_freed_memory()
    try:
        # CUDA reads the variable when it is first used, which no import of ours does.
        if snakemake.resources.get("gpu", 0) and (gpus := devices.visible()):
            os.environ["CUDA_VISIBLE_DEVICES"] = devices.claim(gpus)
        main(snakemake)
    except EXPECTED as error:
        logging.error("%s: %s", snakemake.rule, error)
        sys.exit(1)
    except Exception:
        logging.exception("%s failed", snakemake.rule)
        sys.exit(1)
    logging.shutdown()
    sys.stdout.flush()
    # Everything is written; Python would take up to 0.8 s more to take apart what torch imported.
    os._exit(0)
