"""Batches of a training on its device, wherever the images lie."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import (
    BatchPart,
    DeviceImages,
    Source,
    augmented_batches,
    centred_batches,
    device_augmented_batches,
    device_centred_batches,
    send,
)
from sparsebench.bench.training.execution import Execution
from sparsebench.models.cards import Preprocessing

Fed = tuple[NDArray[np.int64], Tensor]


def training_batches(
    source: Source,
    preprocessing: Preprocessing,
    batch_size: int,
    execution: Execution,
    *,
    seed: int,
    epoch: int,
    clock: StageClock | None = None,
    part: BatchPart | None = None,
) -> Iterator[Fed]:
    """One epoch in random order, each image cut and mirrored at random.

    Args:
        source: the images, in the host's memory or on the device.
        preprocessing: of them.
        batch_size: images a batch; the last one may have fewer.
        execution: device, memory format and threads.
        seed: of order and crops, with `epoch`.
        epoch: its number.
        clock: gets the CPU seconds of threads as busy ``augment``.
        part: which images of a batch are made; all by default.

    Yields:
        Positions ``[n]`` and images ``[n, 3, size, size]``, float32, on the device.
    """
    if isinstance(source, DeviceImages):
        yield from device_augmented_batches(
            source,
            preprocessing,
            batch_size,
            seed=seed,
            epoch=epoch,
            memory_format=execution.memory_format,
            part=part,
        )
        return
    for indices, pixels in augmented_batches(
        source,
        preprocessing,
        batch_size,
        seed=seed,
        epoch=epoch,
        workers=execution.threads,
        clock=clock,
        part=part,
    ):
        yield indices, on_device(torch.from_numpy(pixels), execution)


def evaluation_batches(
    source: Source, preprocessing: Preprocessing, batch_size: int, execution: Execution
) -> Iterator[Fed]:
    """All images in order, each cut in the middle; otherwise as :func:`training_batches`."""
    if isinstance(source, DeviceImages):
        yield from device_centred_batches(
            source, preprocessing, batch_size, memory_format=execution.memory_format
        )
        return
    for indices, pixels in centred_batches(
        source, preprocessing, batch_size, workers=execution.threads
    ):
        yield indices, on_device(torch.from_numpy(pixels), execution)


def on_device(images: Tensor, execution: Execution) -> Tensor:
    """Images in the execution's memory format, on its device."""
    # A GPU changes the format in less time than the host.
    return send(images, execution.device).contiguous(memory_format=execution.memory_format)
