"""Corruptions of images: five kinds, each of five severities, generated and seeded.

After Hendrycks and Dietterich 2019 (arXiv 1903.12261), with the strengths of their code for images
of 32 pixels; brightness is added to every channel, and pixels are not rounded to bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


def _gaussian_noise(images: Images, sigma: float, generator: np.random.Generator) -> Images:
    return images + sigma * generator.standard_normal(images.shape, dtype=np.float32)


def _gaussian_blur(images: Images, sigma: float, _: np.random.Generator) -> Images:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, 0, sigma, sigma), mode="nearest")


def _contrast(images: Images, factor: float, _: np.random.Generator) -> Images:
    mean = images.mean(axis=(2, 3), keepdims=True)
    return (images - mean) * factor + mean


def _brightness(images: Images, added: float, _: np.random.Generator) -> Images:
    return images + added


def _pixelate(images: Images, share: float, _: np.random.Generator) -> Images:
    side = images.shape[2]
    fewer = max(1, int(side * share))
    edges = np.linspace(0, side, fewer + 1)
    # overlap of each coarse pixel with each fine one: the mean over its area
    low, high = edges[:-1, None], edges[1:, None]
    fine = np.arange(side)
    overlap = np.clip(np.minimum(high, fine + 1) - np.maximum(low, fine), 0, None) / (high - low)
    coarse = np.einsum("ai,ncij,bj->ncab", overlap, images, overlap, optimize=True)
    nearest = np.minimum(((fine + 0.5) * fewer / side).astype(int), fewer - 1)
    return coarse[:, :, nearest[:, None], nearest]


# Kind -> how, and its strength at severities 1 to 5.
CORRUPTIONS: dict[
    str, tuple[Callable[[Images, float, np.random.Generator], Images], tuple[float, ...]]
] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "gaussian_blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
}
SEVERITIES = range(1, 6)


def corrupt(images: Images, kind: str, severity: int, seed: int) -> Images:
    """Corrupt images.

    Parameters
    ----------
    images : array of shape (N, C, H, H), float32
        Pixels from 0 to 1.
    kind : str
        One of `CORRUPTIONS`.
    severity : int
        1 to 5.
    seed : int
        Of the noise; other kinds draw nothing.

    Returns
    -------
    array of shape (N, C, H, H), float32
        Clipped to 0 to 1; ``images`` are left as they are.

    Raises
    ------
    ValueError
        If there is no such kind or severity, or pixels are not between 0 and 1.
    """
    if kind not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(
            f"no corruption {kind} of severity {severity}: there are {', '.join(CORRUPTIONS)}, "
            "from 1 to 5"
        )
    # what normalising and back may have added
    if not (images.min() >= -1e-4 and images.max() <= 1 + 1e-4):
        raise ValueError("pixels must be between 0 and 1")
    how, strengths = CORRUPTIONS[kind]
    changed = how(images, strengths[severity - 1], np.random.default_rng(seed))
    return np.clip(changed, 0, 1).astype(np.float32)
