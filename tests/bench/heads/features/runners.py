"""Stand-ins for a compiled engine, and a task to feed them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.heads.features import FeatureKey
from sparsebench.bench.tasks.arrays import array_task
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing

PREPROCESSING = Preprocessing(12, 12, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@dataclass
class PoolingRunner:
    """Computes the mean of each channel over 4 x 4 blocks; keeps the engine's promises.

    Like a real worker it copies what is submitted, works later, and refuses a third batch.
    """

    batch_size: int = 16
    side: int = 12
    feature_dim: int = 27
    submitted: list[int] = field(default_factory=list)
    _pending: deque[NDArray[np.float32]] = field(default_factory=deque)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, self.side, self.side)

    def submit(self, images: NDArray[np.float32]) -> None:
        assert images.dtype == np.float32
        assert images.shape[1:] == self.input_shape
        assert 0 < len(images) <= self.batch_size
        assert len(self._pending) < 2, "two batches are in flight already"
        self.submitted.append(len(images))
        self._pending.append(images.copy())

    def collect(self) -> tuple[NDArray[np.float32], float]:
        return pooled(self._pending.popleft()), 0.001

    @property
    def idle(self) -> bool:
        return not self._pending

    def __enter__(self) -> PoolingRunner:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def pooled(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Block means ``[n, 27]`` of ``[n, 3, 12, 12]``."""
    count, _, height, width = images.shape
    blocks = images.reshape(count, 3, height // 4, 4, width // 4, 4)
    means: NDArray[np.float32] = blocks.mean(axis=(3, 5), dtype=np.float32).reshape(count, -1)
    return means


def noise_task(count: int = 100, test: int = 10) -> Task:
    """Random images of the input's own size, so that features are easy to compute by hand."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    everything = np.arange(count)
    names = ["a", "b"]
    return array_task("noise", names, pixels, everything % 2, everything[test:], everything[:test])


def expected_features(task: Task, split: str) -> NDArray[np.float64]:
    """The same features, computed image by image in float64."""
    rows = []
    for index in range(len(task.split(split))):
        pixels = np.asarray(task.read(split, index)).astype(float) / 255
        normal = (pixels - PREPROCESSING.mean) / PREPROCESSING.std
        rows.append(
            [
                normal[top : top + 4, left : left + 4, channel].mean()
                for channel in range(3)
                for top in (0, 4, 8)
                for left in (0, 4, 8)
            ]
        )
    return np.array(rows)


def key(**changes: object) -> FeatureKey:
    """A feature key with some fields changed."""
    facts: dict[str, object] = {
        "weights_sha256": "w" * 64,
        "mask_sha256": "m" * 64,
        "preprocessing": PREPROCESSING,
        "task_sha256": "t" * 64,
        "split": "train",
        "engine": "pooling",
        "engine_version": "1",
    }
    return FeatureKey(**{**facts, **changes})  # type: ignore[arg-type]
