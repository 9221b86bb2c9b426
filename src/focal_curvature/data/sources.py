"""Where the archives of the public data sets come from, and how a copy is known to be right.

``sources.csv`` is the registry, one archive per row:

======== =========================================================================================
dataset  name of the data set
archive  file name of the archive
over     what is hashed: ``archive``, the file as it is; ``content``, its decompressed content, so
         that copies which differ in gzip headers alone (Debian's Fashion-MNIST) pass
sha256   expected hash of that
bytes    expected size of that
mirrors  addresses, tried in order, separated by spaces
grounds  where hash and size were taken from
format   of a data set's first archive: a key of ``readers.READERS``, and so on below
side     of the images in pixels; 1 for vectors
images   how many, training and test together
scale    the largest value that a pixel, or a number in its place, can take
classes  names of the labels, separated by bars, where the archives do not have them
======== =========================================================================================

What decides a result of it stands in the rows of its own data set alone.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TABLE = Path(__file__).with_suffix(".csv")
VARIABLE = "FOCAL_CURVATURE_DATA"
TOO_FAR = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

Attempt = tuple[str, str]  # where; why it was refused, nothing if it was not


class FetchError(RuntimeError):
    """No source had the archive; the message lists what was wrong with each."""


@dataclass(frozen=True)
class Archive:
    """A row of the registry; the module's docstring says what the columns mean."""

    dataset: str
    name: str
    over: str
    sha256: str
    size: int
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What is the same for all archives of a data set; see the module for the columns."""

    format: str
    side: int
    images: int
    scale: int
    classes: tuple[str, ...]


def facts(dataset: str, table: Path = TABLE) -> Facts:
    """Read what the first row of a data set says of all of it.

    Raises
    ------
    ValueError
        If the registry has no such data set.
    """
    archives(dataset, table)
    row = next(row for row in _rows(table) if row["dataset"] == dataset)
    numbers = (int(row[key]) for key in ("side", "images", "scale"))
    return Facts(row["format"], *numbers, tuple(filter(None, row["classes"].split("|"))))


def registered(table: Path = TABLE) -> list[str]:
    """Return the data sets that the registry has archives of, in its order."""
    return list(dict.fromkeys(row["dataset"] for row in _rows(table)))


def archives(dataset: str, table: Path = TABLE) -> list[Archive]:
    """Read the archives that make up a data set, in the order in which ``decode`` takes them.

    Raises
    ------
    ValueError
        If the registry has no such data set.
    """
    rows = [
        Archive(
            row["dataset"],
            row["archive"],
            row["over"],
            row["sha256"],
            int(row["bytes"]),
            tuple(row["mirrors"].split()),
        )
        for row in _rows(table)
        if row["dataset"] == dataset
    ]
    if not rows:
        known = ", ".join(registered(table))
        raise ValueError(f"no archives are registered for '{dataset}', only for {known}")
    return rows


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def refusal(archive: Archive, path: Path) -> str:
    """Say in one line why a file is not the archive; nothing if it is."""
    opener = gzip.open if archive.over == "content" else Path.open
    try:
        with opener(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            content = f"{digest} ({stream.tell()} bytes)"
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        digest, content = "", f"damaged gzip data of {path.stat().st_size} bytes ({error})"
    if digest == archive.sha256:
        return ""
    what = "decompressed content" if archive.over == "content" else "file"
    return f"expected a {what} of sha256 {archive.sha256} ({archive.size} bytes), found {content}"


def fetch(
    archive: Archive,
    destination: Path,
    directories: Iterable[str | Path] = (),
    *,
    timeout: float = 60.0,
) -> str:
    """Obtain an archive from the first source that has it: local directories, then mirrors.

    The local directories are those given, then those that the environment variable
    ``FOCAL_CURVATURE_DATA`` lists (separated as in ``PATH``). In each, the archive is looked for in
    a folder named after the data set (also with ``-`` for ``_``) and in the directory itself.

    Downloads resume: what has arrived is kept in ``<destination>.part`` when a connection breaks
    or the process is killed. The hash is always verified; ``destination`` appears, read-only, only
    once it is right. Progress and every refusal are printed to standard error, a line each.

    Parameters
    ----------
    archive : Archive
        What to fetch.
    destination : Path
        File to write; its folder is made if need be.
    directories : iterable of paths
        Local directories to search first.
    timeout : float
        Seconds without a byte after which a connection counts as stalled.

    Returns
    -------
    str
        The path or the address that the archive came from.

    Raises
    ------
    FetchError
        If no source has it.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    failures = []
    local = [*map(Path, directories), *map(Path, filter(None, listed))]
    for where, reason in chain(
        _copy(archive, destination, local), _download(archive, destination, timeout)
    ):
        if not reason:
            print(f"{archive.name}: verified, from {where}", file=sys.stderr)
            return where
        failures.append(f"{where}: {reason}")
        print(failures[-1], file=sys.stderr)
    raise FetchError(
        f"{archive.name} ({archive.dataset}) is not available from any source; put it into a "
        f"directory named in the configuration or in {VARIABLE}. Tried:\n  " + "\n  ".join(failures)
    )


def _copy(archive: Archive, destination: Path, directories: list[Path]) -> Iterator[Attempt]:
    copy = destination.with_name(f"{destination.name}.copy")
    folders = dict.fromkeys([archive.dataset, archive.dataset.replace("_", "-"), "."])
    for directory in directories:
        files = [directory / folder / archive.name for folder in folders]
        files = [file for file in files if file.is_file()]
        if not files:
            yield str(directory), f"holds no {archive.name}"
        for file in files:
            try:
                shutil.copyfile(file, copy)
                reason = _settle(archive, copy, destination)
            except OSError as error:
                reason = str(error)
            finally:
                copy.unlink(missing_ok=True)
            yield str(file), reason


def _download(archive: Archive, destination: Path, timeout: float) -> Iterator[Attempt]:
    part = destination.with_name(f"{destination.name}.part")
    # a small archive may be longer than its content by gzip's header
    limit = archive.size + 1024
    for url in archive.mirrors:
        mixed = part.exists()
        while True:
            before = _size(part)
            try:
                _receive(url, part, limit, timeout)
            except (OSError, HTTPException) as error:
                if _size(part) > before:
                    print(f"{url}: {error}; resuming", file=sys.stderr)
                    continue
                yield url, f"{type(error).__name__}: {error}"
                # a file longer than the server's cannot be resumed
                if not (mixed and isinstance(error, HTTPError) and error.code == TOO_FAR):
                    break
                part.unlink()
            else:
                yield url, _settle(archive, part, destination)
                # what was resumed may be another source's fault: once more, all from this one
                if not mixed:
                    break
            mixed = False


def _receive(url: str, part: Path, limit: int, timeout: float) -> None:
    """Append what a server sends to what is there, up to a limit of the whole in bytes."""
    done = _size(part)
    headers = {"User-Agent": "focal-curvature"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with (
        urlopen(Request(url, headers=headers), timeout=timeout) as response,
        part.open("ab") as stream,
    ):
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            stream.truncate(0)
            done = 0
        length = response.headers["Content-Length"]
        total = done + int(length) if length else 0
        shown = time.monotonic()
        while done <= limit and (block := response.read1(1 << 16)):
            stream.write(block)
            done += len(block)
            if time.monotonic() - shown > 5:
                shown = time.monotonic()
                print(f"{part.stem}: {done / 1e6:.1f} of {total / 1e6:.1f} MB", file=sys.stderr)
    if done < total and done <= limit:
        raise ConnectionError(f"connection closed after {done} of {total} bytes")


def _settle(archive: Archive, file: Path, destination: Path) -> str:
    """Turn a complete file into the destination, or delete it and say why it is refused."""
    reason = refusal(archive, file)
    if reason:
        file.unlink()
    else:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.chmod(0o444)
        file.replace(destination)
    return reason


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
