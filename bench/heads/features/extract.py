"""Extraction: images are decoded while the engine computes; memory stays flat.

Decoding threads fill a ring of buffers, the engine has up to two batches in flight, and
finished features are handed on as they come. Nothing grows with the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.features.flight import BatchRunner, through_engine
from sparsebench.bench.images import Source, centred_batches
from sparsebench.bench.images.decode import decoded_batches
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError

# One with the consumer, two being filled.
_BUFFERS = 3


def extract_batches(
    task: Task,
    split: str,
    preprocessing: Preprocessing,
    runner: BatchRunner,
    *,
    workers: int | None = None,
    clock: StageClock | None = None,
    source: Source | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Features of a split, batch by batch, in order.

    Stages of the calling thread: ``decode`` (waiting for images), ``extract`` (handing
    batches over, waiting for the engine). Busy: ``decode`` (CPU seconds of the decoding
    threads), ``engine`` (seconds inside the engine).

    Args:
        task: the images.
        split: ``train`` or ``test``.
        preprocessing: of the backbone, at the runner's input size.
        runner: the engine.
        workers: decoding threads; None for the cores this process may use.
        clock: of the calling thread; None measures nothing.
        source: the split's images, decoded already; None decodes them.

    Yields:
        Positions ``[n]`` and features ``[n, D]``.

    Raises:
        SparsebenchError: an unreadable image, features of another shape or not finite.
    """
    clock = clock or StageClock()
    shape = (3, preprocessing.size, preprocessing.size)
    if tuple(runner.input_shape) != shape:
        raise ValueError(f"the engine takes {runner.input_shape}, the images are {shape}")
    size = min(runner.batch_size, max(1, len(task.split(split))))
    buffers = [np.empty((size, *shape), np.float32) for _ in range(_BUFFERS)]
    if source is None:
        batches = decoded_batches(
            task, split, preprocessing, size, workers, into=buffers, clock=clock
        )
    else:
        batches = centred_batches(
            source, preprocessing, size, workers=workers or 1, into=buffers, clock=clock
        )
    try:
        for indices, features in through_engine(runner, batches, clock, "decode"):
            _check(features, (len(indices), runner.feature_dim), task, split, indices)
            yield indices, features
    finally:
        batches.close()  # type: ignore[attr-defined]


def _check(
    features: NDArray[np.float32],
    shape: tuple[int, int],
    task: Task,
    split: str,
    indices: NDArray[np.int64],
) -> None:
    if features.shape != shape:
        raise SparsebenchError(f"The engine gave features {features.shape} instead of {shape}.")
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        item = task.split(split).items[int(indices[row])]
        raise SparsebenchError(
            f"The engine's features of the {split} image {item} are not finite.",
            "Check the backbone's weights and the engine's precision.",
        )
