"""Batches through an engine that works on the next one while the last is consumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.models.errors import SparsebenchError

IN_FLIGHT = 2
Labelled = tuple[NDArray[np.int64], NDArray[np.float32]]


class BatchRunner(Protocol):
    """A compiled engine that takes batches and gives features back, in order.

    Attributes:
        batch_size: the compiled batch size.
        feature_dim: values in a feature.
        input_shape: ``(3, H, W)``.
    """

    @property
    def batch_size(self) -> int: ...  # noqa: D102

    @property
    def feature_dim(self) -> int: ...  # noqa: D102

    @property
    def input_shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    def submit(self, images: NDArray[np.float32]) -> None:
        """Hand over ``[n, 3, H, W]``, n at most the batch size; copies; at most 2 in flight."""
        ...

    def collect(self) -> tuple[NDArray[np.float32], float]:
        """Features ``[n, D]`` of the oldest batch, and the seconds inside the engine."""
        ...


def through_engine(
    runner: BatchRunner, batches: Iterator[Labelled], clock: StageClock, waiting_for: str
) -> Iterator[Labelled]:
    """Features of batches, in order; the engine has up to two batches at a time.

    Whoever stops early leaves the engine without batches that nobody asked for.

    Args:
        runner: the engine.
        batches: positions ``[n]`` and images ``[n, 3, H, W]``.
        clock: of the calling thread. Stages: the one named by ``waiting_for``, and ``extract``
            (handing batches over, waiting for the engine). Busy: ``engine``, seconds inside it.
        waiting_for: name of the stage that waits for images, ``"decode"`` or ``"augment"``.

    Yields:
        Positions ``[n]`` and features ``[n, D]``.
    """
    waiting: deque[NDArray[np.int64]] = deque()

    def collect() -> Labelled:
        features, seconds = runner.collect()
        clock.busy("engine", seconds)
        return waiting.popleft(), features

    try:
        while True:
            with clock.stage(waiting_for):
                batch = next(batches, None)
            if batch is None:
                break
            finished = None
            with clock.stage("extract"):
                if len(waiting) == IN_FLIGHT:
                    finished = collect()
                runner.submit(batch[1])
                waiting.append(batch[0])
            if finished is not None:
                yield finished
        while waiting:
            with clock.stage("extract"):
                finished = collect()
            yield finished
    except (GeneratorExit, SparsebenchError):
        while waiting:
            collect()
        raise
