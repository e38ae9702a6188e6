"""Decoding against torchvision, which is the independent source of what pixels should be."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images.decode import ImageWriter, decoded_batches
from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.arrays import ArrayImages, array_task
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from tests.bench.tasks.samples import encoded, image_files, sample_image, write_folder

STEP = 1 / 255 / 0.22  # one step of 255, normalised by the smallest ImageNet deviation


def written(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    out = np.full((3, preprocessing.size, preprocessing.size), np.nan, np.float32)
    ImageWriter(preprocessing).write(image, out)
    return out


def torchvisions(
    image: Image.Image, preprocessing: Preprocessing, *, on_tensor: bool = False
) -> NDArray[np.float32]:
    steps = [
        v2.Resize(
            preprocessing.resize,
            InterpolationMode[preprocessing.interpolation.upper()],
            antialias=True,
        ),
        v2.CenterCrop(preprocessing.size),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
    ]
    if on_tensor:
        steps.insert(0, steps.pop(2))
    result: NDArray[np.float32] = v2.Compose(steps)(image).numpy()
    return result


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(10, 150),
    height=st.integers(10, 150),
    size=st.integers(16, 96),
    margin=st.integers(0, 20),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    seed=st.integers(0, 3),
)
def test_any_image_is_what_torchvision_makes_of_it(
    width: int, height: int, size: int, margin: int, interpolation: str, seed: int
) -> None:
    image = sample_image(seed, width, height)
    preprocessing = Preprocessing(size, size + margin, interpolation)  # type: ignore[arg-type]
    ours = written(image, preprocessing)
    on_tensors = torchvisions(image, preprocessing, on_tensor=True)
    assert np.abs(ours - on_tensors).max() < 1e-5
    # Pillow's own resize rounds a little differently.
    difference = np.abs(ours - torchvisions(image, preprocessing))
    assert difference.max() < 2.01 * STEP
    assert difference.mean() < 0.15 * STEP


@pytest.mark.parametrize(
    ("width", "height", "size", "resize"), [(128, 128, 224, 256), (8, 8, 64, 64)]
)
def test_enlarged_images_are_exactly_torchvisions(
    width: int, height: int, size: int, resize: int
) -> None:
    image = sample_image(1, width, height)
    preprocessing = Preprocessing(size, resize)
    assert np.abs(written(image, preprocessing) - torchvisions(image, preprocessing)).max() < 1e-5


def test_a_image_of_the_right_size_is_only_normalised() -> None:
    image = sample_image(2, 70, 64)
    preprocessing = Preprocessing(64, 64, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    middle = np.asarray(image)[:, 3:67].transpose(2, 0, 1) / 255
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    expected = (middle - mean[:, None, None]) / std[:, None, None]
    assert np.abs(written(image, preprocessing) - expected).max() < 1e-6


def test_shrinking_far_larger_jpegs_while_decoding_changes_little(tmp_path: Path) -> None:
    """What `Image.draft` does to network input: under one step in 255 on average."""
    files = image_files(train=1, test=1)
    files["test/ash/000.jpg"] = encoded(sample_image(3, 700, 600), quality=90)
    task = open_task(str(write_folder(tmp_path / "t", files)), cache=tmp_path / "c")
    preprocessing = Preprocessing(64, 72)
    (_, images), *_ = decoded_batches(task, "test", preprocessing, 1)
    whole = torchvisions(task.read("test", 0), preprocessing)
    assert np.abs(images[0] - whole).mean() < STEP


@pytest.fixture(scope="module")
def digits() -> Task:
    return open_task("digits", limit=120)


PREPROCESSING = Preprocessing(16, 18)


def test_batches_come_in_order_and_hold_every_image(digits: Task) -> None:
    batches = list(decoded_batches(digits, "train", PREPROCESSING, 32, workers=3))
    count = len(digits.train)
    assert [len(images) for _, images in batches] == [32, 32, count - 64]
    assert np.concatenate([indices for indices, _ in batches]).tolist() == list(range(count))
    for indices, images in batches:
        assert images.dtype == np.float32
        assert images.flags.c_contiguous
        for index, image in zip(indices, images, strict=True):
            expected = written(digits.read("train", int(index)), PREPROCESSING)
            assert np.array_equal(image, expected)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (1, 4), (7, 2), (32, 1), (500, 3)])
def test_threads_and_batch_size_change_nothing(digits: Task, batch_size: int, workers: int) -> None:
    def all_images(size: int, threads: int) -> NDArray[np.float32]:
        batches = decoded_batches(digits, "test", PREPROCESSING, size, threads)
        return np.concatenate([images for _, images in batches])

    assert np.array_equal(all_images(batch_size, workers), all_images(16, 2))


def test_callers_buffers_are_used_in_turn(digits: Task) -> None:
    buffers = [np.full((16, 3, 16, 16), np.nan, np.float32) for _ in range(3)]
    used = []
    for number, (indices, images) in enumerate(
        decoded_batches(digits, "train", PREPROCESSING, 16, workers=2, into=buffers)
    ):
        assert np.shares_memory(images, buffers[number % 3])
        expected = written(digits.read("train", int(indices[0])), PREPROCESSING)
        time.sleep(0.005)  # decoding ahead must leave this buffer alone
        assert np.array_equal(images[0], expected)
        used.append(number)
    assert len(used) == -(-len(digits.train) // 16)


def test_wrong_buffers_are_refused(digits: Task) -> None:
    wrong = [np.zeros((16, 3, 16, 16), np.float64)] * 2
    with pytest.raises(ValueError, match="float64"):
        next(decoded_batches(digits, "train", PREPROCESSING, 16, into=wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2"):
        next(decoded_batches(digits, "train", PREPROCESSING, 16, into=[wrong[0].astype("f4")]))


class Watched:
    """A store that counts, and fails where it is told to."""

    def __init__(self, store: ArrayImages, bad: int | None = None) -> None:
        self.store = store
        self.bad = bad
        self.started = 0
        self.lock = threading.Lock()

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        with self.lock:
            self.started += 1
        if item == self.bad:
            raise SparsebenchError(f"The image {item} is gone.", "Bring it back.")
        return self.store.read(item, at_least)


def watched(bad: int | None = None) -> tuple[Task, Watched]:
    pixels = np.zeros((400, 8, 8), np.uint8)
    everything = np.arange(400)
    task = array_task("x", ["a", "b"], pixels, everything % 2, everything[:390], everything[390:])
    store = Watched(ArrayImages(pixels), bad)
    return replace(task, store=store), store


def test_decoding_ahead_is_bounded() -> None:
    task, store = watched()
    batches = decoded_batches(task, "train", PREPROCESSING, 10, workers=2, lookahead=2)
    for number in range(1, 6):
        next(batches)
        time.sleep(0.05)
        assert store.started <= 10 * (number + 2)
    batches.close()  # type: ignore[attr-defined]


def test_an_error_reaches_the_consumer_after_the_batches_before_it() -> None:
    task, _ = watched(bad=57)
    seen = []
    with pytest.raises(SparsebenchError, match="image 57 is gone"):
        for indices, _ in decoded_batches(task, "train", PREPROCESSING, 10, workers=2):
            seen.append(int(indices[-1]))
    assert seen == [9, 19, 29, 39, 49]


def decoding_threads() -> int:
    return sum(thread.name.startswith("decode") for thread in threading.enumerate())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_consumer_leaves_no_thread_behind(error: type[BaseException]) -> None:
    task, store = watched()
    with pytest.raises(error):
        for number, _ in enumerate(decoded_batches(task, "train", PREPROCESSING, 10, workers=2)):
            if number == 2:
                raise error
    deadline = time.monotonic() + 5
    while decoding_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert decoding_threads() == 0
    started = store.started
    time.sleep(0.05)
    assert store.started == started


def test_a_crop_larger_than_the_resized_image_is_refused(digits: Task) -> None:
    with pytest.raises(SparsebenchError, match="crop of 64 px"):
        next(decoded_batches(digits, "train", Preprocessing(64, 32), 4))


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 1), (4, -1)])
def test_senseless_sizes_are_refused(digits: Task, batch_size: int, workers: int) -> None:
    with pytest.raises(SparsebenchError, match="at least 1"):
        next(decoded_batches(digits, "train", PREPROCESSING, batch_size, workers))


@pytest.mark.parametrize("shape", [(3, 4000), (4000, 3)])
def test_a_image_that_is_all_length_does_not_fill_the_memory(shape: tuple[int, int]) -> None:
    """Resized whole, this one would be 224 x 300,000 pixels."""
    image = sample_image(4, *shape)
    out = written(image, Preprocessing(224, 224))
    assert np.isfinite(out).all()
    middle = np.asarray(image).reshape(-1, 3)
    assert np.abs(out.mean(axis=(1, 2))).max() < 3
    assert middle.shape[0] == 12000


def test_the_threads_cpu_time_is_counted_as_busy(digits: Task) -> None:
    clock = StageClock()
    for _ in decoded_batches(digits, "train", PREPROCESSING, 32, workers=2, clock=clock):
        pass
    assert 0 < clock.busy_seconds["decode"] < 10
