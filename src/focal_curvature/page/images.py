"""Figures as small as a page needs them: no wider than a screen, few colours, lossless WebP."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

COLOURS = 12  # of a figure; edges of lines are mixtures of few


class Embedded(NamedTuple):
    """A data URI, and its width and height in pixels."""

    uri: str
    width: int
    height: int


NONE = Embedded("", 0, 0)


def embed(file: Path, width: int) -> Embedded:
    """Read an image, scale it down to a width, and return it for use in HTML.

    Raises
    ------
    ValueError
        If it is not an image; names the file.
    """
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise ValueError(f"{file}: is not an image ({error})") from error
    if image.width > width:
        size = width, round(image.height * width / image.width)
        image = image.resize(size, Image.Resampling.LANCZOS)
    # Of every third pixel, which takes an eighth of the time. Two rounds of k-means halve the
    # difference from the file, for a twentieth more bytes.
    sample = image.resize([-(-side // 3) for side in image.size], Image.Resampling.NEAREST)
    palette = sample.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2)
    few = image.quantize(palette=palette, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    few.convert("RGB").save(stream, "WEBP", lossless=True, quality=80, method=4)
    uri = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Embedded(uri, *image.size)
