"""Files that are either whole or not there."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

logger = logging.getLogger(__name__)

REMEDY = "delete it and run again"
PARTIAL = ".part"  # ends the names of files that are being written


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``; on success flush it to disk and rename it.

    Nothing is left behind when the body raises; a killed process leaves at most a hidden
    temporary file, never half of ``path``.

    Raises
    ------
    OSError
        If it cannot be written; names ``path``, also where the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Wait until no other process has ``folder``, and clear what killed ones left half-written.

    A job can outlive the workflow that started it. Without this, it could write its result over
    that of the job which took its place, under other settings. The kernel holds the lock and ends
    it with the process; file systems that lock no folders go without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("%s: waiting for another process that still works there", folder)
                fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            logger.warning("%s cannot be locked (%s)", folder, error)
        else:
            for left in folder.glob(f".*{PARTIAL}"):
                left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; NaN and infinity are refused (ValueError), they are not JSON."""
    with write_atomically(path) as stream:
        stream.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows atomically, with a header; ``None`` is an empty field.

    Parameters
    ----------
    path : Path
    rows : sequence of mappings
    columns : sequence of str, optional
        Needed where there may be no rows; otherwise all that a row has, in order of appearance.
    """
    text = io.StringIO(newline="")
    names = columns if columns is not None else list(dict.fromkeys(k for row in rows for k in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with write_atomically(path) as stream:
        stream.write(text.getvalue().encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    ValueError
        If it is damaged; names it.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error}): {REMEDY}") from error


def verify(path: Path, expected: str) -> None:
    """Refuse a file whose content is not what its maker recorded.

    Raises
    ------
    ValueError
        If its SHA-256 is another one; names the file and the remedy.
    """
    digest = sha256(path)
    if digest != expected:
        raise ValueError(f"{path}: sha256 is {digest}, expected {expected}: {REMEDY}")


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, bool]]:
    """Yield every path below a folder and whether it is a folder.

    Links are followed, but to a folder that they are in. ``above`` are the real paths passed.
    """
    above = (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        is_folder = path.is_dir()
        yield path, is_folder
        if is_folder and not any(passed.is_relative_to(path.resolve()) for passed in above):
            yield from walk(path, above)


def listing(source: Path) -> str:
    """Return a hash of what a file, or a tree of them, looks like from outside.

    It changes when a file is added, removed, renamed, replaced or written again.

    Returns
    -------
    str
        SHA-256 of names, sizes and times of change, links followed.
    """
    digest = hashlib.sha256()
    paths = (path for path, folder in walk(source) if not folder) if source.is_dir() else [source]
    for path in paths:
        about = path.stat() if path.exists() else path.lstat()
        digest.update(os.fsencode(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\0"))
    return digest.hexdigest()
