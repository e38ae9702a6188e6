"""Images go to the device where they fit, and train the same network there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import DeviceImages
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.loop import train_network
from sparsebench.bench.training.placement import placed
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.models.cards import Preprocessing
from tests.bench.training.small import small_network

CARD = Preprocessing(20, 22, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
# 24 images to train and validate on, 12 to test on, all square.
BYTES = (24 + 12) * 22 * 22 * 3


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


def test_images_that_take_up_half_of_what_is_free_go_there(data: TrainingData) -> None:
    there, facts = placed(data, "cpu", free=2 * BYTES)
    assert facts == {"data_on_device": True, "data_bytes": BYTES}
    for ours, theirs in zip(
        (there.train, there.validation, there.test),
        (data.train, data.validation, data.test),
        strict=True,
    ):
        assert isinstance(ours, DeviceImages)
        assert np.array_equal(ours.labels, theirs.labels)
        assert all(np.array_equal(ours[i], theirs[i]) for i in range(len(theirs)))
    assert isinstance(there.train, DeviceImages) and isinstance(there.validation, DeviceImages)
    assert there.train.pixels is there.validation.pixels  # copied once


def test_images_that_take_up_more_stay(data: TrainingData) -> None:
    there, facts = placed(data, "cpu", free=2 * BYTES - 1)
    assert facts == {"data_on_device": False, "data_bytes": BYTES}
    assert there is data


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_training_sees_the_same_images_in_the_same_order(
    data: TrainingData, channels_last: bool
) -> None:
    """The crops differ by a rounding of single values, so the losses hardly do."""
    recipe = TrainRecipe("paper", 2, 0.05, 8)
    execution = Execution(channels_last=channels_last)
    there, _ = placed(data, "cpu", free=2 * BYTES)
    done = []
    for images in (data, there):
        done.append(train_network(small_network(), images, recipe, execution, seed=2))
    assert [e.loss for e in done[1].epochs] == pytest.approx(
        [e.loss for e in done[0].epochs], rel=1e-3
    )
    assert done[1].last == done[0].last
    other = train_network(small_network(), data, recipe, execution, seed=3)
    assert other.epochs[0].loss != pytest.approx(done[0].epochs[0].loss, rel=1e-3)
