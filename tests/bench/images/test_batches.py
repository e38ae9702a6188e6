"""Images in memory: the evaluation's crops exactly, the training's reproducibly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import augmented_batches, centred_batches, decode_resized
from sparsebench.bench.images.decode import decoded_batches
from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing

CARD = Preprocessing(16, 20, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


@pytest.fixture(scope="module")
def task(images: Path) -> Task:
    return open_task(str(images))


def test_centred_batches_are_those_decoded_from_the_files(task: Task) -> None:
    source = decode_resized(task, "test", CARD)
    ours = dict(enumerate(np.concatenate([x for _, x in centred_batches(source, CARD, 5)])))
    theirs = np.concatenate([x for _, x in decoded_batches(task, "test", CARD, 5)])
    assert len(ours) == len(theirs) == 12
    assert all(np.array_equal(ours[i], theirs[i]) for i in ours)


def test_what_memory_does_not_hold_comes_from_a_file_unchanged(task: Task, tmp_path: Path) -> None:
    inside = decode_resized(task, "train", CARD)
    outside = decode_resized(task, "train", CARD, memory=0, folder=tmp_path)
    assert isinstance(outside.pixels, np.memmap)
    assert all(np.array_equal(inside[i], outside[i]) for i in range(len(inside)))
    assert list(tmp_path.iterdir()) == []  # nothing is left behind, whatever happens


def test_an_epoch_has_every_image_once_and_the_same_for_any_number_of_threads(
    task: Task,
) -> None:
    source = decode_resized(task, "train", CARD)

    def epoch(number: int, workers: int) -> tuple[list[int], np.ndarray]:
        batches = list(augmented_batches(source, CARD, 5, seed=3, epoch=number, workers=workers))
        order = [int(i) for indices, _ in batches for i in indices]
        return order, np.concatenate([images for _, images in batches])

    order, images = epoch(0, 1)
    assert sorted(order) == list(range(24))
    again, same = epoch(0, 3)
    assert again == order and np.array_equal(images, same)
    other, _ = epoch(1, 1)
    assert other != order


def test_augmented_images_have_the_preprocessings_scale(task: Task) -> None:
    # The fixture's classes are about 60 and 190 of 255.
    source = decode_resized(task, "train", CARD)
    for indices, images in augmented_batches(source, CARD, 24, seed=0, epoch=0):
        for index, image in zip(indices, images, strict=True):
            level = 60 if task.train.labels[index] == 0 else 190
            expected = (level / 255 - np.array(CARD.mean)) / np.array(CARD.std)
            assert np.allclose(image.mean(axis=(1, 2)), expected, atol=0.25)


def test_decoding_is_a_stage_of_the_clock(task: Task) -> None:
    clock = StageClock()
    decode_resized(task, "train", CARD, clock=clock)
    clock.stop()
    assert clock.seconds["decode"] > 0 and clock.busy_seconds["decode"] > 0
