"""Images on a device: kept there as they were decoded, cut and mirrored there in every epoch.

The order, the crops and the mirror images are drawn on the host from the same streams as those of
:func:`bench.images.augmented_batches`, so that a training sees the same crops with and without
this; only a few numbers an image travel. The centre crops are the host's exactly, the resized
ones but for a step of 255 in a few values of a hundred (see :mod:`bench.images.resample`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.images.augment import random_crops
from sparsebench.bench.images.batches import BatchPart, chosen_of, drawn_parts
from sparsebench.bench.images.decode import ImageWriter
from sparsebench.bench.images.resample import resampled
from sparsebench.bench.images.resized import ResizedImages
from sparsebench.bench.images.transfer import send
from sparsebench.models.cards import Preprocessing

DeviceBatch = tuple[NDArray[np.int64], Tensor]
# Bytes that are copied at a time: what is mapped from a file need never be in memory as a whole.
_PIECE = 1 << 26


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """Decoded images on a device, or some of them; a :class:`bench.images.Source` too.

    Attributes:
        pixels: all images one after another, RGB ``[pixels, 3]``, uint8, on the device.
        starts: first row of each image in `pixels` ``[n]``, int64, on the host.
        shapes: height and width of each ``[n, 2]``, int32, on the host.
        labels: class numbers ``[n]``, int64, on the host.
    """

    pixels: Tensor
    starts: NDArray[np.int64]
    shapes: NDArray[np.int32]
    labels: NDArray[np.int64]

    @classmethod
    def copied(cls, images: ResizedImages, device: str) -> DeviceImages:
        """A copy of decoded images on a device.

        Raises:
            RuntimeError: they do not fit there.
        """
        flat = torch.empty(len(images.pixels), dtype=torch.uint8, device=device)
        for start in range(0, len(flat), _PIECE):
            # A copy first, since what is mapped is read-only.
            piece = np.array(images.pixels[start : start + _PIECE])
            flat[start : start + _PIECE].copy_(torch.from_numpy(piece))
        starts = images.starts[:-1] // 3
        return cls(flat.view(-1, 3), starts, images.shapes, images.labels)

    def subset(self, indices: NDArray[np.int64]) -> DeviceImages:
        """Some of the images, in the given order; nothing is copied."""
        return replace(
            self,
            starts=self.starts[indices],
            shapes=self.shapes[indices],
            labels=self.labels[indices],
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One image ``[H, W, 3]``, uint8, on the host."""
        height, width = self.shapes[index].tolist()
        start = int(self.starts[index])
        image = self.pixels[start : start + height * width].view(height, width, 3)
        found: NDArray[np.uint8] = image.cpu().numpy()
        return found

    def boxes(
        self, which: NDArray[np.int64], corners: NDArray[np.int64], rows: int, columns: int
    ) -> Tensor:
        """A box of each of some images.

        Args:
            which: positions of the images ``[n]``.
            corners: first row and column of each box ``[n, 2]``.
            rows: of a box; where it passes the image's end, its last row is repeated.
            columns: of a box, likewise.

        Returns:
            ``[n, rows, columns, 3]``, uint8, on the device.
        """
        numbers = np.column_stack([self.starts[which], self.shapes[which], corners])
        device = str(self.pixels.device)
        start, height, width, top, left = send(torch.from_numpy(numbers), device).T[..., None, None]
        row = torch.arange(rows, device=device)[:, None]
        column = torch.arange(columns, device=device)
        row = torch.minimum(top + row, height - 1)
        column = torch.minimum(left + column, width - 1)
        return self.pixels[start + row * width + column]


def device_augmented_batches(
    source: DeviceImages,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    memory_format: torch.memory_format = torch.contiguous_format,
    part: BatchPart | None = None,
) -> Iterator[DeviceBatch]:
    """One epoch in random order, each image cut and mirrored at random, on the device.

    Args:
        source: the images.
        preprocessing: size, interpolation, mean and standard deviation.
        batch_size: images a batch; the last one may have fewer.
        seed: of order and crops, with `epoch`.
        epoch: number of the epoch.
        memory_format: of the batches.
        part: as :func:`bench.images.augmented_batches`.

    Yields:
        Positions ``[n]`` in `source` and images ``[n, 3, size, size]``, float32, on the device.
    """
    scale = _Scale(preprocessing, source.pixels.device)
    device = str(source.pixels.device)
    for batch, generator in drawn_parts(len(source), batch_size, seed=seed, epoch=epoch):
        chosen = chosen_of(len(batch), part)
        crops = random_crops(source.shapes[batch], generator)[chosen]
        own = batch[chosen]
        drawn = np.array([(c.height, c.width, c.top, c.left, c.mirrored) for c in crops], np.int64)
        rows, columns = drawn[:, :2].max(axis=0).tolist()
        pixels = source.boxes(own, drawn[:, 2:4], rows, columns)
        numbers = send(torch.from_numpy(drawn), device)
        made = resampled(
            pixels,
            numbers[:, :2],
            numbers[:, 4].bool(),
            preprocessing.size,
            preprocessing.interpolation,
        )
        yield own, scale.normalised(made, memory_format)


def device_centred_batches(
    source: DeviceImages,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[DeviceBatch]:
    """All images in order, each cut in the middle: what the evaluation sees, bit for bit.

    Arguments and yield as :func:`device_augmented_batches`.
    """
    scale, size = _Scale(preprocessing, source.pixels.device), preprocessing.size
    for start in range(0, len(source), batch_size):
        part = np.arange(start, min(start + batch_size, len(source)))
        # Rounded as the host rounds: halves to the even number.
        corners = np.rint((source.shapes[part] - size) / 2).astype(np.int64)
        pixels = source.boxes(part, corners, size, size)
        yield part, scale.normalised(pixels.permute(0, 3, 1, 2), memory_format)


class _Scale:
    """Values 0-255 to the network's scale, with the host's own factors."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        writer = ImageWriter(preprocessing)
        self._factor = torch.from_numpy(writer.factor).to(device)
        self._offset = torch.from_numpy(writer.offset).to(device)

    def normalised(self, pixels: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Pixels ``[n, 3, H, W]``, uint8 or float32, as float32 in a memory format."""
        images = pixels.to(torch.float32, memory_format=memory_format, copy=True)
        # Two roundings, as on the host; fused into one the last bit would differ.
        return images.mul_(self._factor).add_(self._offset)
