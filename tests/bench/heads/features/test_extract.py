from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.features import extract_batches
from sparsebench.bench.tasks.base import Task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.labelled import ImageStore
from tests.bench.heads.features.runners import (
    PREPROCESSING,
    PoolingRunner,
    expected_features,
    noise_task,
)


def extract_features(
    task: Task, split: str, runner: PoolingRunner, out: NDArray[np.float32], **options: Any
) -> None:
    for indices, features in extract_batches(task, split, PREPROCESSING, runner, **options):
        out[indices] = features


@pytest.mark.parametrize(("batch_size", "workers"), [(16, 2), (1, 1), (7, 3), (90, 2), (1000, 1)])
def test_features_are_those_of_each_image_in_order(batch_size: int, workers: int) -> None:
    task = noise_task()
    runner = PoolingRunner(batch_size)
    out = np.full((90, 27), np.nan, np.float32)
    extract_features(task, "train", runner, out, workers=workers)
    assert np.abs(out - expected_features(task, "train")).max() < 1e-5
    assert runner.idle


def test_only_the_last_batch_is_partial_and_it_is_not_padded_here() -> None:
    runner = PoolingRunner(16)
    extract_features(noise_task(), "train", runner, np.empty((90, 27), "f4"))
    assert runner.submitted == [16] * 5 + [10]


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    runner = PoolingRunner(64)
    extract_features(noise_task(), "test", runner, np.empty((10, 27), "f4"))
    assert runner.submitted == [10]


def test_stages_sum_to_the_wall_time_and_busy_lies_beside() -> None:
    clock = StageClock()
    out = np.empty((90, 27), np.float32)
    extract_features(noise_task(), "train", PoolingRunner(), out, clock=clock)
    total = clock.stop()
    assert sum(clock.seconds.values()) == pytest.approx(total, rel=1e-6)
    assert {"decode", "extract"} <= set(clock.seconds)
    assert clock.busy_seconds["engine"] == pytest.approx(0.006)
    assert clock.busy_seconds["decode"] > 0


class Sick(PoolingRunner):
    """Gives a NaN for the 40th image."""

    def collect(self) -> tuple[NDArray[np.float32], float]:
        features, seconds = super().collect()
        if len(self.submitted) >= 3:
            features[40 - 32, 3] = np.nan
        return features, seconds


def test_features_that_are_not_finite_name_the_image_and_stop() -> None:
    runner = Sick(16)
    with pytest.raises(SparsebenchError, match=r"train image .* not finite"):
        extract_features(noise_task(), "train", runner, np.empty((90, 27), "f4"))
    assert runner.idle


def test_features_of_another_width_are_refused() -> None:
    runner = PoolingRunner(16, feature_dim=28)
    with pytest.raises(SparsebenchError, match=r"\(16, 27\) instead of \(16, 28\)"):
        extract_features(noise_task(), "train", runner, np.empty((90, 28), "f4"))


def test_an_engine_of_another_input_size_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="the engine takes"):
        next(
            extract_batches(noise_task(), "train", replace(PREPROCESSING, size=8), PoolingRunner())
        )


def test_whoever_stops_early_leaves_an_idle_engine() -> None:
    runner = PoolingRunner(8)
    batches = extract_batches(noise_task(), "train", PREPROCESSING, runner)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert runner.idle


MEMORY = """
import resource, sys
from pathlib import Path
from sparsebench.bench.heads.features import FeatureCache
from tests.bench.heads.features.runners import PREPROCESSING, PoolingRunner, key, noise_task
from dataclasses import replace

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def run(count, width):
    task = noise_task(200)
    many = replace(task, train=replace(task.train, items=list(task.train.items) * (count // 190),
                   labels=task.train.labels.repeat(count // 190)))
    wide = PoolingRunner(64, feature_dim=27 * width)
    plain = PoolingRunner.collect
    wide.collect = lambda: ((lambda f, s: (f.repeat(width, 1), s))(*plain(wide)))
    cache = FeatureCache(Path(sys.argv[1]))
    name = key(split=f"{count}")
    cache.get_or_extract(name, many, "train", PREPROCESSING, lambda: wide, workers=2)

run(950, 40)
small = peak()
run(9500, 40)
print(small, peak())
"""


def test_memory_stays_flat_as_the_task_grows(tmp_path: Path) -> None:
    """Ten times the images: 41 MB of features, none of which may stay in memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    small, large = (float(number) for number in done.stdout.split())
    assert large - small < 15, f"peak grew from {small:.0f} to {large:.0f} MB"


class CountingStore:
    """Tells how many images were asked for."""

    def __init__(self, store: ImageStore) -> None:
        self.store, self.asked = store, threading.Semaphore(0)

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        self.asked.release()
        return self.store.read(item, at_least)


def test_decoding_overlaps_with_the_engine() -> None:
    """While the engine has two batches and the third waits, images of the fourth are read."""
    task = noise_task()
    store = CountingStore(task.store)
    in_time: list[bool] = []

    class WaitingRunner(PoolingRunner):
        def collect(self) -> tuple[NDArray[np.float32], float]:
            if not in_time:
                in_time.append(all(store.asked.acquire(timeout=60) for _ in range(4 * 16)))
            return super().collect()

    out = np.empty((90, 27), np.float32)
    extract_features(replace(task, store=store), "train", WaitingRunner(16), out, workers=2)
    assert in_time == [True]
    assert np.abs(out - expected_features(task, "train")).max() < 1e-5
