"""Snakemake's log on the screen in one line a job, with how far the whole is.

``PYTHONPATH=workflow/logger snakemake --logger lines``. Errors, warnings and a failed job's log are
told as Snakemake tells them; its own log file in ``.snakemake/log`` stays whole.
"""

from __future__ import annotations

import logging
import sys
import time

from snakemake.logging import get_event
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Told in other words below, or in the log file alone.
LEFT_OUT = {
    LogEvent.JOB_STARTED,
    LogEvent.WORKFLOW_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.GROUP_INFO,
    LogEvent.SHELLCMD,
}
# What Snakemake says without an event and nobody needs who waits for figures.
SETTINGS = ("Building DAG", "Using ", "Conda env", "Assuming unrestricted", "host:")
SETTINGS += ("Provided", "Rules claiming", "Select jobs", "Complete log", "Config")


class LogHandler(LogHandlerBase):
    """Write a line for each finished job: number, total, minutes since the start, its message."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Begin to count."""
        self.began = time.monotonic()
        self.said: dict[int, str] = {}
        self.finished: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write what a record says, if a person who waits needs it."""
        event = get_event(record)
        if event == LogEvent.JOB_INFO:
            self.said[record.jobid] = record.rule_msg or record.rule_name
        elif event == LogEvent.JOB_FINISHED:
            self.finished.append(record.job_id)
        elif event == LogEvent.PROGRESS:
            self.progress(record.done, record.total)
        elif event == LogEvent.RUN_INFO:
            self.write(f"{record.stats['total']} jobs")
        elif event is not None or record.levelno > logging.INFO:
            if event not in LEFT_OUT:
                self.write(self.format(record))
        elif record.msg and not str(record.msg).startswith(SETTINGS):
            self.write(self.format(record))

    def progress(self, done: int, total: int) -> None:
        """Write a line for each job that has ended since the last call."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        for number, job in enumerate(self.finished, start=done - len(self.finished) + 1):
            text = self.said.pop(job, "")
            self.write(f"{number:{len(str(total))}} of {total}  {minutes:2}:{seconds:02}  {text}")
        self.finished.clear()

    def write(self, text: str) -> None:
        """Write a line at once, however the stream is buffered."""
        if text and text != "None":
            print(text, file=sys.stderr, flush=True)
