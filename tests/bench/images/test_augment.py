"""Random crops: those of torchvision, and images that come out right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from sparsebench.bench.images.augment import Crop, cut, random_crops


@pytest.mark.parametrize("shape", [(96, 64), (64, 64), (40, 300)])
def test_crops_are_distributed_as_those_of_torchvision(shape: tuple[int, int]) -> None:
    count = 3000
    ours = random_crops(np.array([shape] * count, np.int32), np.random.default_rng(1))
    torch.manual_seed(2)
    image = torch.empty(3, *shape)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    )
    found = np.array([(c.top, c.left, c.height, c.width) for c in ours])
    for column in range(4):
        # Two samples of one distribution: the largest gap of their distributions is small.
        assert stats.ks_2samp(found[:, column], theirs[:, column]).statistic < 0.06


def test_crops_lie_in_the_image_and_half_are_mirrored() -> None:
    shapes = np.array([(50, 70), (31, 200)] * 500, np.int32)
    crops = random_crops(shapes, np.random.default_rng(0))
    for (rows, columns), crop in zip(shapes, crops, strict=True):
        assert 0 <= crop.top <= crop.top + crop.height <= rows
        assert 0 <= crop.left <= crop.left + crop.width <= columns
    assert 0.45 < np.mean([crop.mirrored for crop in crops]) < 0.55


def test_a_crop_of_the_right_size_is_cut_and_mirrored_untouched() -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    plain = cut(pixels, Crop(1, 2, 4, 4, False), 4, "bilinear")
    assert np.array_equal(plain, pixels[1:5, 2:6])
    mirrored = cut(pixels, Crop(1, 2, 4, 4, True), 4, "bilinear")
    assert np.array_equal(mirrored, pixels[1:5, 2:6][:, ::-1])


def test_a_crop_of_one_colour_stays_so_at_any_size() -> None:
    pixels = np.full((30, 40, 3), (10, 120, 250), np.uint8)
    made = cut(pixels, Crop(3, 4, 9, 13, False), 64, "bicubic")
    assert made.shape == (64, 64, 3)
    assert np.array_equal(made, np.broadcast_to(pixels[0, 0], made.shape))
