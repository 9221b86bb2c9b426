"""Random crops and flips of whole batches, on the device that they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

POLICIES = ("none", "crop", "crop-flip")


def augment(
    images: Tensor, policy: str, generator: Generator, fill: Tensor | float = 0.0
) -> Tensor:
    """Crop every image at a random place of its padded self, and mirror half of them.

    The padding is an eighth of the side on each side: 4 pixels for 32, as in He et al. 2016
    (arXiv 1512.03385).

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), any dtype.
    policy : str
        ``none``, ``crop`` (no mirroring) or ``crop-flip``.
    generator : torch.Generator
        Draws, on its own device, a row, a column and a side for each image.
    fill : Tensor or float
        Value of the padding, broadcastable to (C, 1, 1). Images that are normalised by mean and
        standard deviation have black at -mean / std; 0 is the mean colour.

    Returns
    -------
    Tensor
        Shape, dtype and device of ``images``.

    Raises
    ------
    ValueError
        If there is no such policy.
    """
    import torch

    if policy not in POLICIES:
        raise ValueError(f"augmentation '{policy}' is unknown: known are {', '.join(POLICIES)}")
    if policy == "none":
        return images
    count, channels, height, width = images.shape
    pad = height // 8

    def draw(choices: int, *shape: int) -> Tensor:
        drawn = torch.randint(choices, shape, generator=generator, device=generator.device)
        return drawn.to(images.device)

    padded = images.new_empty(count, channels, height + 2 * pad, width + 2 * pad)
    padded[:] = torch.as_tensor(fill, dtype=images.dtype, device=images.device)
    padded[:, :, pad : pad + height, pad : pad + width] = images
    # every window is a view (N, C, rows, columns, H, W): only the one drawn is copied
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    every = torch.arange(count, device=images.device)
    cropped = windows[every, :, draw(2 * pad + 1, count), draw(2 * pad + 1, count)]
    if policy == "crop":
        return cropped
    return torch.where(draw(2, count, 1, 1, 1).bool(), cropped.flip(3), cropped)
