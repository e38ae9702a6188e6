"""Batches of network input from images in memory, made in threads ahead of the consumer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images.augment import cut, random_crops
from sparsebench.bench.images.decode import ImageWriter, LetterboxWriter, writer_of
from sparsebench.bench.images.letterbox import Placement, random_placements
from sparsebench.bench.images.resized import Source
from sparsebench.models.cards import Letterbox, Preprocessing

BatchPart = Callable[[int], slice]
"""Number of images in a batch -> which of them are made here."""
Batch = tuple[NDArray[np.int64], NDArray[np.float32]]
_AHEAD = 2


def augmented_batches(
    source: Source,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    workers: int = 1,
    clock: StageClock | None = None,
    part: BatchPart | None = None,
) -> Iterator[Batch]:
    """One epoch in random order, each image cut and mirrored at random.

    Args:
        source: the images.
        preprocessing: size, interpolation, mean and standard deviation.
        batch_size: images a batch; the last one may have fewer.
        seed: of order and crops, with `epoch`.
        epoch: number of the epoch.
        workers: threads.
        clock: gets the threads' CPU seconds as busy ``augment``.
        part: which images of a batch are made; all by default. They are those of the whole
            batch: order and crops do not depend on it.

    Yields:
        Positions ``[n]`` in `source` and images ``[n, 3, size, size]``, float32.
    """
    drawn = drawn_parts(len(source), batch_size, seed=seed, epoch=epoch)
    streams = [generator for _, generator in drawn]
    writer = ImageWriter(preprocessing)

    def fill(own: NDArray[np.int64], number: int, out: NDArray[np.float32]) -> None:
        whole, chosen = batches[number], chosen_of(len(batches[number]), part)
        images = [source[int(i)] for i in whole]
        shapes = np.array([p.shape[:2] for p in images], np.int32)
        crops = random_crops(shapes, streams[number])
        for image, crop, place in zip(images[chosen], crops[chosen], out, strict=True):
            made = cut(image, crop, preprocessing.size, preprocessing.interpolation)
            place[...] = made.transpose(2, 0, 1)
            writer.normalise(place)

    batches = [batch for batch, _ in drawn]
    parts = [batch[chosen_of(len(batch), part)] for batch in batches]
    return _ahead(parts, preprocessing.size, fill, workers, clock, "augment")


def placed_batches(
    source: Source,
    preprocessing: Letterbox,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    workers: int = 1,
    clock: StageClock | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], list[Placement]]]:
    """One epoch in random order, each whole image resized, placed and mirrored at random.

    Arguments as :func:`augmented_batches`.

    Yields:
        Positions ``[n]`` in `source`, images ``[n, 3, size, size]``, float32, and where each
        of them lies in its input.
    """
    drawn = drawn_parts(len(source), batch_size, seed=seed, epoch=epoch)
    writer = LetterboxWriter(preprocessing)
    places = [
        random_placements(
            np.array([source[int(i)].shape[:2] for i in part], np.int32),
            preprocessing.size,
            generator,
        )
        for part, generator in drawn
    ]

    def fill(part: NDArray[np.int64], number: int, out: NDArray[np.float32]) -> None:
        for index, placement, place in zip(part.tolist(), places[number], out, strict=True):
            writer.write_placed(source[index], placement, place)

    parts = [part for part, _ in drawn]
    made = _ahead(parts, preprocessing.size, fill, workers, clock, "augment")
    for (indices, images), placements in zip(made, places, strict=True):
        yield indices, images, placements


def centred_batches(
    source: Source,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    workers: int = 1,
    clock: StageClock | None = None,
    into: Sequence[NDArray[np.float32]] | None = None,
) -> Iterator[Batch]:
    """All images in order, each cut in the middle (or letterboxed): what the evaluation sees.

    Arguments and yield as :func:`augmented_batches`; busy ``decode``. `into` as in
    :func:`sparsebench.bench.images.decode.decoded_batches`.
    """
    writer = writer_of(preprocessing)

    def fill(part: NDArray[np.int64], number: int, out: NDArray[np.float32]) -> None:
        for index, place in zip(part.tolist(), out, strict=True):
            writer.write_pixels(source[index], place)

    order = np.arange(len(source))
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return _ahead(parts, preprocessing.size, fill, workers, clock, "decode", into)


def chosen_of(count: int, part: BatchPart | None) -> slice:
    """Which images of a batch of `count` are made."""
    return slice(0, count) if part is None else part(count)


def drawn_parts(
    count: int, batch_size: int, *, seed: int, epoch: int
) -> list[tuple[NDArray[np.int64], np.random.Generator]]:
    """The random order of an epoch in batches, each with the stream that its crops come from.

    Crops belong to batches, not to threads or devices: whoever makes them makes the same.

    Args:
        count: images of the epoch.
        batch_size: images a batch; the last one may have fewer.
        seed: of the training.
        epoch: its number.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(count)
    parts = [order[i : i + batch_size] for i in range(0, count, batch_size)]
    return list(zip(parts, generator.spawn(len(parts)), strict=True))


def _ahead(
    parts: Sequence[NDArray[np.int64]],
    size: int,
    fill: Callable[[NDArray[np.int64], int, NDArray[np.float32]], None],
    workers: int,
    clock: StageClock | None,
    name: str,
    into: Sequence[NDArray[np.float32]] | None = None,
) -> Iterator[Batch]:
    ahead = max(_AHEAD, workers) if into is None else len(into) - 1
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def work(part: NDArray[np.int64], number: int) -> NDArray[np.float32]:
        began = time.thread_time()
        if into is None:
            images = np.empty((len(part), 3, size, size), np.float32)
        else:
            images = into[number % len(into)][: len(part)]
        fill(part, number, images)
        if clock is not None:
            clock.busy(name, time.thread_time() - began)
        return images

    pending: deque[tuple[NDArray[np.int64], Future[NDArray[np.float32]]]] = deque()
    try:
        for number, part in enumerate(parts):
            # With buffers of the caller's, the one being used must not be filled yet.
            if into is not None and len(pending) == ahead:
                first, images = pending.popleft()
                yield first, images.result()
            pending.append((part, pool.submit(work, part, number)))
            if into is None and len(pending) > ahead:
                first, images = pending.popleft()
                yield first, images.result()
        while pending:
            first, images = pending.popleft()
            yield first, images.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
