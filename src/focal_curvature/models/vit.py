"""A tiny vision transformer for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["tiny_vit"]
ABOUT = {"tiny_vit": {"cost": 3.3, "least_size": 4}}


class Attention(nn.Module):
    """Multi-head self-attention in elementary operations, of which all derivatives exist.

    Torch's fused kernel has no second derivative.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, width), of tokens (N, T, width)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two linear layers, each after a layer norm and beside a skip connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, width), of tokens (N, T, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Patches as tokens, blocks, the mean over the tokens, and a linear read-out."""

    def __init__(
        self, classes: int, channels: int, size: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(channels * patch**2, width)
        self.position = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes), of images (N, channels, size, size)."""
        p = self.patch
        tiles = x.unfold(2, p, p).unfold(3, p, p)  # (N, C, rows, columns, p, p)
        tokens = tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.position)).mean(dim=1))


def tiny_vit(
    classes: int,
    channels: int,
    size: int,
    *,
    patch: int = 4,
    width: int = 32,
    depth: int = 4,
    heads: int = 4,
) -> VisionTransformer:
    """Build a vision transformer of a few ten thousand parameters.

    Dosovitskiy et al. 2021 (arXiv 2010.11929) with their pre-norm blocks and learnt positions, but
    no class token: the tokens' mean is read out (Zhai et al. 2022, arXiv 2106.04560, "GAP"), and
    the blocks' layers are twice as wide, not four times. 36,682 parameters for ten classes of
    28 x 28 grey images at the default.

    Parameters
    ----------
    classes, channels, size : int
        Number of classes, of image channels, and the side of the (square) images in pixels.
    patch : int
        Side of a patch in pixels; pixels beyond the last whole patch are not seen.
    width : int
        Of the tokens, a multiple of ``heads``.
    depth, heads : int
        Number of blocks, and of attention heads in each.

    Raises
    ------
    ValueError
        If the images are smaller than a patch, or ``width`` is no multiple of ``heads``.
    """
    if size < patch:
        raise ValueError(f"tiny_vit needs images of at least {patch} pixels (patch), not {size}")
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, not {width} of {heads}")
    return VisionTransformer(classes, channels, size, patch, width, depth, heads)
