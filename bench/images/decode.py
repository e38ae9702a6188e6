"""Images to network input: decode, resize, crop, normalise; in threads, ahead of the engine.

Decoding shares the machine's cores with the engine, so what counts is CPU time an image:

- The resize is PyTorch's uint8 kernel: exactly what torchvision's transforms give on
  tensors, in less than half of the time of Pillow, from which a few values in a hundred
  differ by one step of 255 (a test holds it to both).
- Pixels are normalised with one multiplication and one addition, straight into their place
  in the batch; no float image exists in between.
- JPEGs at least 4 times larger than needed are shrunk by the decoder
  (``sparsebench.models.images.decoding``).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images.letterbox import Placement
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Letterbox, Preprocessing
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError

Batch = tuple[NDArray[np.int64], NDArray[np.float32]]
_MOST_PER_JOB = 8
_MOST_ASPECT = 16


def decoded_batches(
    task: Task,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    workers: int | None = None,
    *,
    into: Sequence[NDArray[np.float32]] | None = None,
    clock: StageClock | None = None,
    lookahead: int = 2,
) -> Iterator[Batch]:
    """Batches of a split, in order, decoded in threads ahead of the consumer.

    Args:
        task: the images.
        split: ``train`` or ``test``.
        preprocessing: see :class:`sparsebench.models.cards.Preprocessing`.
        batch_size: images in a batch; the last one may have fewer.
        workers: threads; None for the cores this process may use.
        into: at least 2 buffers ``[batch_size, 3, size, size]``, float32, C-contiguous,
            that batches are written to in turn, one of them with the consumer and the
            others being filled. A batch is then valid until the next one is asked for.
            None makes a new array for every batch.
        clock: gets the threads' CPU seconds as busy ``decode``.
        lookahead: batches being decoded while the consumer has one (without `into`).

    Yields:
        Positions in the split ``[n]`` and images ``[n, 3, size, size]``, C-contiguous.

    Raises:
        SparsebenchError: an image that can no longer be read; a crop larger than the
            resized image.
    """
    workers = workers or usable_cpus()
    _check(preprocessing, batch_size, workers, into)
    ahead = len(into) - 1 if into is not None else lookahead
    # At small batches several must be under way to keep every thread at work.
    if into is None:
        ahead = max(1, ahead, -(-2 * workers // batch_size))
    writer = writer_of(preprocessing)
    per_job = min(_MOST_PER_JOB, max(1, batch_size // (2 * workers)))
    starts = iter(range(0, len(task.split(split)), batch_size))
    pending: deque[tuple[Batch, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def work(indices: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        began = time.thread_time()
        for index, place in zip(indices.tolist(), out, strict=True):
            writer.write(task.read(split, index, preprocessing.resize), place)
        if clock is not None:
            clock.busy("decode", time.thread_time() - began)

    def begin(number: int, start: int) -> None:
        indices = np.arange(start, min(start + batch_size, len(task.split(split))))
        shape = (len(indices), 3, preprocessing.size, preprocessing.size)
        if into is None:
            images = np.empty(shape, np.float32)
        else:
            images = into[number % len(into)][: len(indices)]
        jobs = [
            pool.submit(work, indices[i : i + per_job], images[i : i + per_job])
            for i in range(0, len(indices), per_job)
        ]
        pending.append(((indices, images), jobs))

    try:
        number = 0
        while True:
            while len(pending) <= ahead and (start := next(starts, None)) is not None:
                begin(number, start)
                number += 1
            if not pending:
                return
            batch, jobs = pending.popleft()
            for job in jobs:
                job.result()
            yield batch
    finally:
        # Also when the consumer stops early or is interrupted: no thread may write into
        # the caller's buffers any more.
        pool.shutdown(wait=True, cancel_futures=True)


class ImageWriter:
    """Writes prepared images into their places; safe to use from several threads.

    Args:
        preprocessing: what to do to an image.

    Attributes:
        factor: what values 0-255 are multiplied with ``[3, 1, 1]``, float32.
        offset: what is then added ``[3, 1, 1]``, float32.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.size = preprocessing.size
        self.resize = preprocessing.resize
        self.interpolation = preprocessing.interpolation
        mean = np.array(preprocessing.mean, np.float64)
        std = np.array(preprocessing.std, np.float64)
        # (x / 255 - mean) / std = x * factor + offset
        self.factor = (1 / (255 * std)).astype(np.float32)[:, None, None]
        self.offset = (-mean / std).astype(np.float32)[:, None, None]

    def write(self, image: Image.Image, out: NDArray[np.float32]) -> None:
        """Resize the short side, cut out the middle, normalise.

        Args:
            image: RGB.
            out: ``[3, size, size]``, float32; overwritten.
        """
        self.write_pixels(self.resized(image), out)

    def resized(self, image: Image.Image) -> NDArray[np.uint8]:
        """An RGB image at the network's scale ``[H, W, 3]``, uint8: its short side is `resize`."""
        return resized_pixels(image, self.resize, self.interpolation)

    def write_pixels(self, pixels: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Cut out the middle and normalise an image that is resized already.

        Args:
            pixels: ``[H, W, 3]``, uint8, its short side :attr:`resize`.
            out: ``[3, size, size]``, float32; overwritten.
        """
        # Rounded as torchvision's centre crop rounds.
        left = round((pixels.shape[1] - self.size) / 2)
        top = round((pixels.shape[0] - self.size) / 2)
        cut = pixels[top : top + self.size, left : left + self.size]
        out[...] = cut.transpose(2, 0, 1)
        self.normalise(out)

    def normalise(self, out: NDArray[np.float32]) -> None:
        """Values 0-255 ``[3, H, W]``, float32, to the network's scale, in place."""
        np.multiply(out, self.factor, out=out)
        np.add(out, self.offset, out=out)


class LetterboxWriter(ImageWriter):
    """Writes whole images: see :class:`sparsebench.models.cards.Letterbox`."""

    def __init__(self, preprocessing: Letterbox) -> None:
        super().__init__(preprocessing)
        self._place = preprocessing.place

    def resized(self, image: Image.Image) -> NDArray[np.uint8]:
        """An RGB image at the network's scale ``[H, W, 3]``, uint8: it just fits."""
        _, _, _, width, height = self._place(*image.size)
        return resample(np.array(image), height, width, self.interpolation)

    def write_pixels(self, pixels: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """As :meth:`ImageWriter.write_pixels`; around the image lies the mean, which is 0."""
        height, width = pixels.shape[:2]
        self.put(pixels, (self.size - width) // 2, (self.size - height) // 2, out)

    def write_placed(
        self, pixels: NDArray[np.uint8], placement: Placement, out: NDArray[np.float32]
    ) -> None:
        """Resize, mirror and place an image; otherwise as :meth:`write_pixels`."""
        shape = (placement.height, placement.width)
        if pixels.shape[:2] != shape:
            pixels = resample(np.ascontiguousarray(pixels), *shape, self.interpolation)
        if placement.mirrored:
            pixels = pixels[:, ::-1]
        self.put(pixels, placement.left, placement.top, out)

    def put(self, pixels: NDArray[np.uint8], left: int, top: int, out: NDArray[np.float32]) -> None:
        """Pixels at a place of the input, as much of them as lies in it; the rest becomes 0."""
        part = pixels[max(0, -top) : self.size - top, max(0, -left) : self.size - left]
        left, top = max(0, left), max(0, top)
        out[...] = 0
        inner = out[:, top : top + part.shape[0], left : left + part.shape[1]]
        inner[...] = part.transpose(2, 0, 1)
        self.normalise(inner)


def writer_of(preprocessing: Preprocessing) -> ImageWriter:
    """What prepares images as a preprocessing says."""
    if isinstance(preprocessing, Letterbox):
        return LetterboxWriter(preprocessing)
    return ImageWriter(preprocessing)


def resized_pixels(image: Image.Image, short: int, interpolation: str) -> NDArray[np.uint8]:
    """An image whose short side has `short` pixels, as ``[H, W, 3]``, uint8.

    Args:
        image: RGB.
        short: pixels.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    image = _without_far_ends(image)
    target = _resized(*image.size, short)
    if target == image.size:
        return np.array(image)
    return resample(np.array(image), target[1], target[0], interpolation)


def resample(
    pixels: NDArray[np.uint8], height: int, width: int, interpolation: str
) -> NDArray[np.uint8]:
    """Pixels ``[H, W, 3]`` at another size, antialiased: PyTorch's uint8 kernel."""
    # Channels stay last in memory: the kernel's fast case.
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    image = torch.nn.functional.interpolate(
        image, size=(height, width), mode=interpolation, antialias=True
    )
    result: NDArray[np.uint8] = image[0].permute(1, 2, 0).numpy()
    return result


def _without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of an image that is all length: its ends would fill the memory unseen."""
    width, height = image.size
    most = _MOST_ASPECT * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def _resized(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height once the short side has `short` pixels; rounded down."""
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _check(
    preprocessing: Preprocessing,
    batch_size: int,
    workers: int,
    into: Sequence[NDArray[np.float32]] | None,
) -> None:
    if preprocessing.resize < preprocessing.size or preprocessing.size < 1:
        raise SparsebenchError(
            f"A crop of {preprocessing.size} px cannot be cut from images whose short side "
            f"is {preprocessing.resize} px.",
            "Make `resize` at least `size`.",
        )
    if batch_size < 1 or workers < 1:
        raise SparsebenchError(
            f"Batch size {batch_size} and {workers} workers: both must be at least 1."
        )
    if into is not None:
        shape = (batch_size, 3, preprocessing.size, preprocessing.size)
        for buffer in into:
            if buffer.shape != shape or buffer.dtype != np.float32:
                raise ValueError(f"a buffer is {buffer.dtype}{buffer.shape}, not float32{shape}")
        if len(into) < 2:
            raise ValueError("decoding ahead needs at least 2 buffers")
