"""Data sets of one's own: a tree of image files, or an archive of one.

``train/<class>/<image>`` and ``test/<class>/<image>``, in a folder, a tar file (any compression) or
a zip file, possibly below one enclosing folder. Archives are read in memory, never unpacked.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from lzma import LZMAError
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from focal_curvature.data import arrays
from focal_curvature.files import walk

POOLS = ("train", "test")
# What file managers leave behind, beside names with a dot.
CLUTTER = {"__macosx", "desktop.ini", "ehthumbs.db", "thumbs.db"}
PLACE = re.compile(r"(?:([^/]+)/)??(train|test)/([^/]+)(?:/([^/]+))?")


def decode(
    source: Path, folder: Path, *, name: str, size: int, expected: str | None = None
) -> None:
    """Write the arrays and the description of a tree of images.

    Images are ordered by pool, class and file name. Those of another size are resized to
    ``size`` x ``size`` (bicubic, antialiased; the aspect ratio is not kept), and turned as their
    EXIF orientation says. Hidden files are skipped, as are ``Thumbs.db``, ``desktop.ini`` and files
    less than two folders deep, such as a README. Links in a folder are
    followed, but to what they are in. Names are taken in
    Unicode's normal form C, so that those of macOS are the same as others.

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
        images, as ``sha256sum`` prints them (names in normal form C).

    Raises
    ------
    ValueError
        If the hash is another, a path leads out of the archive, is there twice, is not UTF-8 or
        cannot be read, a file is out of place, no readable image or one of several frames,
        grayscale is among colour, there is one class alone, or a class has no image in a pool. The
        message names the file.
    """
    digest = arrays.sha256(source) if source.is_file() else ""
    if digest:
        _hold_against(expected, digest, source)
    images: dict[tuple[int, str, str], NDArray[np.uint8]] = {}
    hashes = {}
    classes, roots, paths = set(), set(), set()
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
        if path in paths:
            raise ValueError(f"{source}: {path} is there twice")
        paths.add(path)
        images[key] = _pixels(content, size, f"{source}: {path}")
        hashes[key] = hashlib.sha256(content).hexdigest()
    if len(roots) > 1:
        raise ValueError(f"{source}: images lie in more than one place: {', '.join(sorted(roots))}")
    order = sorted(images)
    for number, pool in enumerate(POOLS):
        empty = classes - {label for n, label, _ in order if n == number}
        if empty or not classes:
            raise ValueError(f"{source}: no image in {pool}/{min(empty, default='<class>')}")
    if len(classes) == 1:
        raise ValueError(
            f"{source}: {min(classes)} is the only class: images lie in train/<class> and "
            "test/<class>"
        )
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


def _hold_against(expected: str | None, digest: str, source: Path) -> None:
    if expected not in (None, digest):
        raise ValueError(f"{source}: expected sha256 {expected}, found {digest}")


def _entries(source: Path) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    """Yield the path of every visible folder and file with, for a file, its content."""
    where = ""
    try:
        for name, read in _members(source):
            where = f"{name} " if name.isprintable() else f"{name!r} "
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise ValueError(f"{source}: the name {name!a} is not UTF-8: rename it")
            path = PurePosixPath(unicodedata.normalize("NFC", name))
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{source}: {name} leads out of the archive")
            if not any(part.startswith(".") or part.lower() in CLUTTER for part in path.parts):
                yield path, read() if read else None
            where = ""
    except (
        EOFError,
        LZMAError,
        OSError,
        RuntimeError,  # zipfile's: a password is needed, or the compression is none of its own
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{source}: {where}cannot be read ({error})") from error


def _members(source: Path) -> Iterator[tuple[str, Callable[[], bytes] | None]]:
    if not source.exists():
        raise FileNotFoundError("it does not exist")
    if source.is_dir():
        for path, folder in walk(source):
            yield path.relative_to(source).as_posix(), None if folder else path.read_bytes
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
                name = _zip_name(info)
                yield name, None if name.endswith("/") else partial(archive.read, info)
    else:
        raise ValueError(f"{source} is neither a folder nor a whole tar or zip file")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's path: Windows may write backslashes, and UTF-8 without saying so."""
    name = info.filename
    if not info.flag_bits & 0x800:  # the format's flag for UTF-8; zipfile read code page 437
        name = name.encode("cp437").decode(errors="surrogateescape")
    return name.replace("\\", "/")


def _pixels(content: bytes, size: int, where: str) -> NDArray[np.uint8]:
    """Decode an image to shape (C, size, size)."""
    try:
        image = Image.open(BytesIO(content))
        image.load()
        frames = getattr(image, "n_frames", 1)
        image = ImageOps.exif_transpose(image)
    except Exception as error:  # PIL's decoders raise whatever they stumble on
        raise ValueError(f"{where} is not a readable image ({error})") from error
    if frames > 1:
        raise ValueError(f"{where} has {frames} frames: keep one")
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"{where} is of mode {image.mode}: convert it to L (grayscale) or RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
