"""Corruptions: what each does, how it grows, and that it repeats."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from focal_curvature.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt

IMAGES = np.random.default_rng(0).random((20, 3, 32, 32), dtype=np.float32)
FLAT = np.full((4, 1, 32, 32), 0.4, dtype=np.float32)
conditions = pytest.mark.parametrize("kind", CORRUPTIONS)


@conditions
def test_images_stay_images_and_change_more_with_severity(kind):
    before = IMAGES.copy()
    changes = []
    for severity in SEVERITIES:
        found = corrupt(IMAGES, kind, severity, seed=1)
        assert (found.shape, found.dtype) == (IMAGES.shape, np.float32)
        assert 0 <= found.min() <= found.max() <= 1
        np.testing.assert_array_equal(found, corrupt(IMAGES, kind, severity, seed=1))
        changes.append(np.square(found - IMAGES).mean())
    assert changes == sorted(changes)
    assert changes[0] > 1e-4
    np.testing.assert_array_equal(IMAGES, before)


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"gaussian_noise", "brightness"}))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_flat_image_stays_flat(kind, severity):
    np.testing.assert_allclose(corrupt(FLAT, kind, severity, 0), FLAT, atol=1e-6)


def test_noise_has_its_strength_and_its_seed():
    found = corrupt(FLAT, "gaussian_noise", 5, seed=3) - FLAT
    assert found.std() == pytest.approx(0.1, rel=0.05)
    assert not np.array_equal(found, corrupt(FLAT, "gaussian_noise", 5, seed=4) - FLAT)


def test_contrast_and_brightness_have_closed_forms():
    mean = IMAGES.mean(axis=(2, 3), keepdims=True)
    expected = (IMAGES - mean) * 0.15 + mean
    np.testing.assert_allclose(corrupt(IMAGES, "contrast", 5, 0), expected, atol=1e-6)
    np.testing.assert_allclose(corrupt(FLAT, "brightness", 5, 0), FLAT + 0.3, atol=1e-6)


def test_pixelation_is_near_pillows_box_filter():
    i, j = np.mgrid[:32, :32]
    smooth = (0.5 + 0.5 * np.sin(i / 3) * np.cos(j / 4)).astype(np.float32)
    for severity, share in zip(SEVERITIES, (0.95, 0.9, 0.85, 0.75, 0.65), strict=True):
        found = corrupt(smooth[None, None], "pixelate", severity, 0)[0, 0]
        side = int(32 * share)
        small = Image.fromarray(smooth).resize((side, side), Image.Resampling.BOX)
        expected = np.asarray(small.resize((32, 32), Image.Resampling.NEAREST))
        # Pillow weighs pixels that straddle an edge by their centre
        assert np.abs(found - expected).mean() < 0.03
        assert len(np.unique(found[:, 0].round(6))) <= side < 32


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"gaussian_noise"}))
def test_channels_and_images_do_not_mix(kind):
    whole = corrupt(IMAGES, kind, 3, 0)
    np.testing.assert_allclose(corrupt(IMAGES[5:6, 1:2], kind, 3, 0), whole[5:6, 1:2], atol=1e-6)


@pytest.mark.parametrize(("kind", "severity"), [("fog", 1), ("contrast", 0), ("contrast", 6)])
def test_unknown_conditions(kind, severity):
    with pytest.raises(ValueError, match=f"no corruption {kind} of severity {severity}"):
        corrupt(IMAGES, kind, severity, 0)


def test_pixels_out_of_range():
    with pytest.raises(ValueError, match="between 0 and 1"):
        corrupt(IMAGES * 255, "contrast", 1, 0)
