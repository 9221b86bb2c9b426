"""How every job logs and fails: on the screen and in its log, mistakes in one line."""

from __future__ import annotations

import logging
import os
import sys
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
    # On a full disk the log is lost; the screen is not, and a traceback per line would bury it.
    logging.raiseExceptions = False
    allocator.keep_freed_memory()
    try:
        # CUDA reads the variable when it is first used, which no import of ours does.
        if snakemake.resources.get("gpu", 0) and (found := devices.visible()):
            os.environ["CUDA_VISIBLE_DEVICES"] = devices.claim(found)
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
