"""Images kept and cut on a device: those that the host's batches have. The device is the CPU."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pytest
import torch

from sparsebench.bench.images import (
    DeviceImages,
    ResizedImages,
    augmented_batches,
    centred_batches,
    device_augmented_batches,
    device_centred_batches,
)
from sparsebench.models.cards import Preprocessing

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CARD = Preprocessing(32, 37, "bilinear", MEAN, STD)
STEP = (1 / (255 * np.array(STD)))[None, :, None, None]
SHAPES = [(37, 60), (90, 37), (37, 37), (37, 500), (44, 37), (37, 38), (41, 37)]


@pytest.fixture(scope="module")
def images() -> ResizedImages:
    """Of all proportions: waves with some noise, as photographs have both."""
    generator = np.random.default_rng(0)
    made = []
    for number, (rows, columns) in enumerate(SHAPES * 3):
        row, column = np.mgrid[:rows, :columns]
        wave = 128 + 100 * np.sin(row / (2 + number % 5)) * np.cos(column / (3 + number % 4))
        noise = generator.normal(0, 30, (rows, columns, 3))
        made.append(np.clip(wave[:, :, None] + noise, 0, 255).astype(np.uint8))
    shapes = np.array([one.shape[:2] for one in made], np.int32)
    starts = np.concatenate([[0], np.cumsum([one.size for one in made])])
    labels = np.arange(len(made)) % 4
    pixels = np.concatenate([one.reshape(-1) for one in made])
    return ResizedImages(pixels, starts, shapes, labels)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_augmented_batches_are_the_hosts_but_for_rounding(
    images: ResizedImages, interpolation: Literal["bilinear", "bicubic"]
) -> None:
    card = Preprocessing(32, 37, interpolation, MEAN, STD)
    there = DeviceImages.copied(images, "cpu")
    theirs = list(augmented_batches(images, card, 5, seed=3, epoch=2))
    ours = list(device_augmented_batches(there, card, 5, seed=3, epoch=2))
    assert len(ours) == len(theirs) == 5
    for (a, x), (b, y) in zip(ours, theirs, strict=True):
        assert np.array_equal(a, b)
        assert x.dtype == torch.float32 and x.shape == y.shape
        steps = np.abs(x.numpy() - y) / STEP
        assert steps.max() <= 2.01  # normalising rounds as well
        assert steps.mean() < 0.02


def test_some_images_are_cut_as_the_same_ones_on_the_host(images: ResizedImages) -> None:
    indices = np.array([13, 2, 5, 20, 0])
    there, here = DeviceImages.copied(images, "cpu").subset(indices), images.subset(indices)
    assert np.array_equal(there.labels, here.labels) and len(there) == 5
    assert all(np.array_equal(there[i], here[i]) for i in range(5))
    (_, x), = device_augmented_batches(there, CARD, 8, seed=0, epoch=0)  # fmt: skip
    (_, y), = augmented_batches(here, CARD, 8, seed=0, epoch=0)  # fmt: skip
    assert (np.abs(x.numpy() - y) / STEP).max() <= 1.01


def test_centred_batches_are_the_hosts_bit_for_bit(images: ResizedImages) -> None:
    there = DeviceImages.copied(images, "cpu")
    ours = list(device_centred_batches(there, CARD, 4))
    theirs = list(centred_batches(images, CARD, 4))
    assert len(ours) == len(theirs) == 6
    for (a, x), (b, y) in zip(ours, theirs, strict=True):
        assert np.array_equal(a, b) and np.array_equal(x.numpy(), y)


def test_a_memory_format_is_a_matter_of_strides(images: ResizedImages) -> None:
    there, last = DeviceImages.copied(images, "cpu"), torch.channels_last
    pairs = [
        (
            device_centred_batches(there, CARD, 4),
            device_centred_batches(there, CARD, 4, memory_format=last),
        ),
        (
            device_augmented_batches(there, CARD, 4, seed=1, epoch=0),
            device_augmented_batches(there, CARD, 4, seed=1, epoch=0, memory_format=last),
        ),
    ]
    for plain, other in pairs:
        x, y = next(plain)[1], next(other)[1]
        assert x.is_contiguous() and y.is_contiguous(memory_format=last)
        assert torch.equal(x, y)


def test_a_mapped_file_is_copied_piece_by_piece(
    images: ResizedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsebench.bench.images.on_device._PIECE", 1000)
    locked = images.pixels.copy()
    locked.flags.writeable = False
    mapped = ResizedImages(locked, images.starts, images.shapes, images.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of tensors over read-only memory
        there = DeviceImages.copied(mapped, "cpu")
    assert all(np.array_equal(there[i], images[i]) for i in range(len(images)))
