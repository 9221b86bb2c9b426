"""Crops and flips: every outcome is one of the images' own windows, and all are drawn alike."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from focal_curvature.data.augment import POLICIES, augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(image: torch.Tensor, pad: int, fill: float, flip: bool) -> list[torch.Tensor]:
    """All crops of one image (C, H, W), the slow way."""
    _, height, width = image.shape
    padded = F.pad(image, (pad,) * 4, value=fill)
    crops = [
        padded[:, row : row + height, column : column + width]
        for row in range(2 * pad + 1)
        for column in range(2 * pad + 1)
    ]
    return crops + [crop.flip(-1) for crop in crops] if flip else crops


@pytest.mark.parametrize("policy", ["crop", "crop-flip"])
@pytest.mark.parametrize("fill", [0.0, -1.5])
def test_every_window_is_drawn_equally_often(policy, fill):
    """One image, many times: a chi-squared test of the counts against the uniform law."""
    image = torch.randn(2, 8, 10, generator=generator())
    flip = policy == "crop-flip"
    possible = torch.stack(windows(image, 1, fill, flip)).flatten(1)
    many = 3600
    drawn = augment(image.expand(many, -1, -1, -1), policy, generator(1), fill).flatten(1)
    hits = (drawn[:, None] == possible).all(-1)
    assert (hits.sum(1) == 1).all()
    counts = hits.sum(0).double()
    expected = many / len(possible)
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(possible) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_images_are_cropped_each_on_its_own():
    images = torch.randn(16, 3, 32, 32, generator=generator())
    for image, drawn in zip(images, augment(images, "crop-flip", generator(1)), strict=True):
        assert any(torch.equal(drawn, crop) for crop in windows(image, 4, 0.0, flip=True))


@pytest.mark.parametrize(("size", "pad"), [(8, 1), (28, 3), (32, 4), (64, 8)])
def test_padding_is_an_eighth_of_the_side(size, pad):
    """The largest shift of a lone bright pixel is the padding."""
    images = torch.zeros(2000, 1, size, size)
    images[:, 0, size // 2, size // 2] = 1
    places = augment(images, "crop", generator())[:, 0].nonzero()[:, 1:] - size // 2
    assert places.amin(0).tolist() == [-pad, -pad]
    assert places.amax(0).tolist() == [pad, pad]


def test_fill_may_differ_by_channel():
    """Black, after normalisation by channel."""
    fill = torch.tensor([-2.0, -3.0]).view(2, 1, 1)
    drawn = augment(torch.ones(200, 2, 8, 8), "crop", generator(), fill)
    assert set(drawn[:, 0].unique().tolist()) == {-2.0, 1.0}
    assert set(drawn[:, 1].unique().tolist()) == {-3.0, 1.0}


@pytest.mark.parametrize("policy", POLICIES)
def test_same_generator_same_result_and_no_other_source_of_chance(policy):
    images = torch.randn(20, 1, 16, 16, generator=generator())
    before = images.clone()
    torch.manual_seed(1)
    one = augment(images, policy, generator(7))
    torch.manual_seed(2)
    assert torch.equal(one, augment(images, policy, generator(7)))
    assert torch.equal(images, before)
    assert torch.equal(one, augment(images, policy, generator(8))) == (policy == "none")


def test_bytes_stay_bytes():
    images = torch.randint(1, 256, (10, 3, 8, 8), dtype=torch.uint8, generator=generator())
    assert augment(images, "crop-flip", generator()).dtype == torch.uint8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_draws_what_the_cpu_draws_from_one_generator():
    images = torch.randn(64, 3, 32, 32, generator=generator())
    on_gpu = augment(images.cuda(), "crop-flip", generator(3))
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), augment(images, "crop-flip", generator(3)))


def test_unknown_policy():
    with pytest.raises(ValueError, match="'cutout' is unknown: known are none, crop, crop-flip"):
        augment(torch.zeros(1, 1, 8, 8), "cutout", generator())
