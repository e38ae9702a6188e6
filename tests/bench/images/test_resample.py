"""Crops of different sizes resized in matrix products: PyTorch's own kernel is the measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsebench.bench.images.decode import resample
from sparsebench.bench.images.resample import filter_weights, resampled

STRAIGHT = torch.tensor([False])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(40, 61), (32, 17), (9, 13), (200, 33), (1, 2)])
def test_noise_is_resized_as_by_pytorchs_kernel(interpolation: str, shape: tuple[int, int]) -> None:
    """Smaller and larger, in one direction each; noise is the hardest image."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    expected = resample(noise, 32, 32, interpolation).transpose(2, 0, 1).astype(np.float32)
    sides = torch.tensor([shape])
    made = resampled(torch.from_numpy(noise)[None], sides, STRAIGHT, 32, interpolation)[0].numpy()
    difference = np.abs(made - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.05
    assert np.array_equal(made, made.round())


def test_what_lies_behind_a_crop_counts_for_nothing() -> None:
    generator = np.random.default_rng(1)
    noise = torch.from_numpy(generator.integers(0, 256, (2, 30, 40, 3)).astype(np.uint8))
    sides = torch.tensor([[30, 22], [11, 40]])
    mirrored = torch.tensor([False, True])
    made = resampled(noise, sides, mirrored, 16, "bicubic")
    noise[0, :, 22:] = 255
    noise[1, 11:] = 0
    assert torch.equal(resampled(noise, sides, mirrored, 16, "bicubic"), made)


def test_a_mirror_image_is_the_image_with_its_columns_reversed() -> None:
    noise = torch.from_numpy(
        np.random.default_rng(2).integers(0, 256, (1, 20, 30, 3)).astype(np.uint8)
    )
    sides = torch.tensor([[20, 30]])
    straight = resampled(noise, sides, STRAIGHT, 24, "bilinear")
    assert torch.equal(resampled(noise, sides, ~STRAIGHT, 24, "bilinear"), straight.flip(3))


def test_the_triangle_by_hand() -> None:
    """From 4 pixels to 2 the filter reaches over 2 pixels each way, from 2 to 4 over 1."""
    halved = filter_weights(torch.tensor([4]), 5, 2, "bilinear", STRAIGHT)[0]
    expected = torch.tensor([[3.0, 3, 1, 0, 0], [0, 1, 3, 3, 0]]) / 7
    torch.testing.assert_close(halved, expected)
    doubled = filter_weights(torch.tensor([2]), 2, 4, "bilinear", STRAIGHT)[0]
    expected = torch.tensor([[1.0, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    torch.testing.assert_close(doubled, expected)


def test_autocast_around_it_changes_nothing() -> None:
    noise = torch.from_numpy(
        np.random.default_rng(3).integers(0, 256, (1, 20, 30, 3)).astype(np.uint8)
    )
    sides = torch.tensor([[20, 30]])
    plain = resampled(noise, sides, STRAIGHT, 24, "bilinear")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resampled(noise, sides, STRAIGHT, 24, "bilinear"), plain)
