"""Images of a split, decoded once and kept at the network's scale.

An image is decoded and resized so that its short side has the length that the
preprocessing asks for (or, where whole images are the input, that it just fits); the whole of it
is kept, as uint8. From that the centre crop of the
evaluation is cut exactly as from the file, and random crops are cut again in every epoch
without decoding again. (A random crop then shows at most the resized image's detail; the
published code decodes every image in every epoch instead.)

What does not fit in memory goes to a file that is mapped, so memory stays flat.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images.decode import writer_of
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError

# Up to this share of the free memory is used before the images go to a file.
MEMORY_SHARE = 0.25
_JOB = 16
# The mean image of a task is seldom longer than this times its short side.
_USUAL_ASPECT = 1.5


class Source(Protocol):
    """Images by position: :class:`ResizedImages` or some of them."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers ``[n]``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One image ``[H, W, 3]``, uint8."""
        ...


@dataclass(frozen=True, eq=False)
class ResizedImages:
    """Decoded images of one split, in its order.

    Attributes:
        pixels: all images one after another ``[bytes]``, uint8; in memory or mapped.
        starts: first byte of each image and the end of the last ``[n + 1]``, int64.
        shapes: height and width of each ``[n, 2]``, int32.
        labels: class numbers ``[n]``, int64.
    """

    pixels: NDArray[np.uint8]
    starts: NDArray[np.int64]
    shapes: NDArray[np.int32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One image ``[H, W, 3]``, uint8, a view."""
        height, width = self.shapes[index]
        return self.pixels[self.starts[index] : self.starts[index + 1]].reshape(height, width, 3)

    def subset(self, indices: NDArray[np.int64]) -> Subset:
        """Some of the images, in the given order."""
        return Subset(self, indices)


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of a source, in the given order; nothing is copied.

    Attributes:
        whole: the images.
        indices: positions in it ``[n]``, int64.
    """

    whole: Source
    indices: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers ``[n]``."""
        return self.whole.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One image ``[H, W, 3]``, uint8."""
        return self.whole[int(self.indices[index])]


def decode_resized(
    task: Task,
    split: str,
    preprocessing: Preprocessing,
    *,
    workers: int | None = None,
    clock: StageClock | None = None,
    folder: Path | None = None,
    memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ResizedImages:
    """Decode and resize every image of a split.

    Args:
        task: the images.
        split: ``train`` or ``test``.
        preprocessing: ``resize`` and ``interpolation`` count here.
        workers: threads; None for the cores this process may use.
        clock: gets the stage ``decode``, and the threads' seconds as busy ``decode``.
        folder: where a file goes if memory does not suffice; the system's by default.
        memory: bytes that may be used; None for a quarter of what is free.
        progress: told (images decoded, images to decode) in this thread.

    Raises:
        SparsebenchError: an image that can no longer be read, no room for the file.
    """
    clock = clock or StageClock()
    labels = task.split(split).labels
    if memory is None:
        memory = psutil.virtual_memory().available * MEMORY_SHARE
    expected = len(labels) * preprocessing.resize**2 * 3 * _USUAL_ASPECT
    with clock.stage("decode"):
        images = _decoded(task, split, preprocessing, workers, clock, progress)
        if expected <= memory:
            return _in_memory(images, labels)
        return _in_file(images, labels, task.name, folder)


def _in_memory(images: Iterator[NDArray[np.uint8]], labels: NDArray[np.int64]) -> ResizedImages:
    parts: list[NDArray[np.uint8]] = []
    shapes: list[tuple[int, int]] = []
    for image in images:
        shapes.append(image.shape[:2])
        parts.append(image.reshape(-1))
    pixels = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return _indexed(pixels, shapes, labels)


def _in_file(
    images: Iterator[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    name: str,
    folder: Path | None,
) -> ResizedImages:
    shapes: list[tuple[int, int]] = []
    try:
        # The name is gone at once and the room with the last mapping, whatever happens.
        with tempfile.TemporaryFile(dir=folder, prefix="sparsebench-") as file:
            for image in images:
                shapes.append(image.shape[:2])
                file.write(image.tobytes())
            file.flush()
            pixels: NDArray[np.uint8] = np.memmap(file, np.uint8, "r")
    except OSError as error:
        raise SparsebenchError(
            f"The decoded images of '{name}' cannot be kept ({error.strerror or error}).",
            "Free some disk, or set TMPDIR to a folder with room.",
        ) from error
    return _indexed(pixels, shapes, labels)


def _indexed(
    pixels: NDArray[np.uint8], shapes: list[tuple[int, int]], labels: NDArray[np.int64]
) -> ResizedImages:
    sides = np.array(shapes, np.int32).reshape(-1, 2)
    sizes = sides.astype(np.int64).prod(axis=1) * 3
    starts = np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])
    return ResizedImages(pixels, starts, sides, labels)


def _decoded(
    task: Task,
    split: str,
    preprocessing: Preprocessing,
    workers: int | None,
    clock: StageClock,
    progress: Callable[[int, int], None] | None,
) -> Iterator[NDArray[np.uint8]]:
    """Images ``[H, W, 3]`` in order, decoded in threads some way ahead."""
    count = len(task.split(split))
    workers = workers or usable_cpus()
    writer = writer_of(preprocessing)

    def work(start: int) -> list[NDArray[np.uint8]]:
        began = time.thread_time()
        made = [
            writer.resized(task.read(split, index, preprocessing.resize))
            for index in range(start, min(start + _JOB, count))
        ]
        clock.busy("decode", time.thread_time() - began)
        return made

    made_so_far = 0

    def done(job: Future[list[NDArray[np.uint8]]]) -> list[NDArray[np.uint8]]:
        nonlocal made_so_far
        made = job.result()
        made_so_far += len(made)
        if progress:
            progress(made_so_far, count)
        return made

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        pending: deque[Future[list[NDArray[np.uint8]]]] = deque()
        for start in range(0, count, _JOB):
            pending.append(pool.submit(work, start))
            if len(pending) > 2 * workers:
                yield from done(pending.popleft())
        while pending:
            yield from done(pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
