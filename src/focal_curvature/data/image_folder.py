"""Data sets of one's own: a tree of image files, or an archive of one.

``train/<class>/<image>`` and ``test/<class>/<image>``, in a folder, a tar file (any compression) or
a zip file, possibly below one enclosing folder. Archives are read in memory, never unpacked.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from lzma import LZMAError
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from focal_curvature.data import arrays

POOLS = ("train", "test")
PLACE = re.compile(r"(?:([^/]+)/)??(train|test)/([^/]+)(?:/([^/]+))?")


def decode(
    source: Path, folder: Path, *, name: str, size: int, expected: str | None = None
) -> None:
    """Write the arrays and the description of a tree of images.

    Images are ordered by pool, class and file name. Those of another size are resized to
    ``size`` x ``size`` (bicubic, antialiased; the aspect ratio is not kept). Hidden files are
    skipped, and so are files less than two folders deep, such as a README.

    Parameters
    ----------
    source : Path
        Folder or archive.
    folder : Path
        Where to write ``images.npy``, ``labels.npy`` and ``dataset.json``.
    name : str
        What to call the data set.
    size : int
        Side of the images in pixels.
    expected : str, optional
        SHA-256 that the archive must have; for a folder, that of the lines "<hash>  <path>" of its
        images, as ``sha256sum`` prints them.

    Raises
    ------
    ValueError
        If the hash is another, a path leads out of the archive, a file is out of place or no
        readable image, grayscale is among colour, or a class has no image in a pool. The message
        names the file.
    """
    digest = arrays.sha256(source) if source.is_file() else ""
    if digest:
        _hold_against(expected, digest, source)
    images: dict[tuple[int, str, str], NDArray[np.uint8]] = {}
    hashes = {}
    classes, roots = set(), set()
    for path, content in _entries(source):
        place = PLACE.fullmatch(str(path))
        root, pool, label, file = place.groups() if place else (None, "", "", None)
        if place and not (content is not None and file is None):
            roots.add(root or ".")
            classes.add(label)
        if content is None or len(path.parts) < 3:
            continue
        if file is None:
            raise ValueError(
                f"{source}: {path} is not train/<class>/<image> or test/<class>/<image>"
            )
        key = POOLS.index(pool), label, file
        images[key] = _pixels(content, size, f"{source}: {path}")
        hashes[key] = hashlib.sha256(content).hexdigest()
    if len(roots) > 1:
        raise ValueError(f"{source}: images lie in more than one place: {', '.join(sorted(roots))}")
    order = sorted(images)
    for number, pool in enumerate(POOLS):
        empty = classes - {label for n, label, _ in order if n == number}
        if empty or not classes:
            raise ValueError(f"{source}: no image in {pool}/{min(empty, default='<class>')}")
    for key in order:
        if len(images[key]) != len(images[order[0]]):
            odd, first = (f"{POOLS[n]}/{label}/{file}" for n, label, file in (key, order[0]))
            raise ValueError(f"{source}: {odd} and {first}: one is grayscale, the other colour")
    if not digest:
        lines = [f"{hashes[n, k, f]}  {POOLS[n]}/{k}/{f}\n" for n, k, f in order]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        _hold_against(expected, digest, source)
    names = sorted(classes)
    numbers = {label: number for number, label in enumerate(names)}
    train = sum(number == 0 for number, *_ in order)
    arrays.write(
        folder,
        name=name,
        images=np.stack([images[key] for key in order]),
        labels=np.array([numbers[label] for _, label, _ in order], dtype=np.int64),
        classes=names,
        pools={"train": [0, train], "test": [train, len(order)]},
        scale=255,
        sources=[{"name": source.name, "sha256": digest}],
    )


def _hold_against(expected: str | None, found: str, source: Path) -> None:
    if expected not in (None, found):
        raise ValueError(f"{source}: expected sha256 {expected}, found {found}")


def _entries(source: Path) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    """Yield the path of every visible folder and file with, for a file, its content."""
    try:
        for name, read in _members(source):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{source}: {name} leads out of the archive")
            if not any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
                yield path, read() if read else None
    except (
        EOFError,
        LZMAError,
        OSError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{source}: cannot be read ({error})") from error


def _members(source: Path) -> Iterator[tuple[str, Callable[[], bytes] | None]]:
    if source.is_dir():
        for path in source.rglob("*"):
            name = path.relative_to(source).as_posix()
            yield name, None if path.is_dir() else path.read_bytes
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None and not member.isdir():
                    raise ValueError(f"{source}: {member.name} is a link or a device")
                yield member.name, stream.read if stream else None
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                yield info.filename, None if info.is_dir() else partial(archive.read, info)
    else:
        raise ValueError(f"{source} is neither a folder nor a whole tar or zip file")


def _pixels(content: bytes, size: int, where: str) -> NDArray[np.uint8]:
    """Decode an image to shape (C, size, size)."""
    try:
        image = Image.open(BytesIO(content))
        image.load()
    except Exception as error:  # PIL's decoders raise whatever they stumble on
        raise ValueError(f"{where} is not a readable image ({error})") from error
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"{where} is of mode {image.mode}: convert it to L (grayscale) or RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
