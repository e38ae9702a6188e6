"""Training images, decoded once into bytes on disk, augmented in batches.

Decoding JPEGs in every epoch would cost a CPU as much as the training of a small
network, so a split is decoded once into one file of bytes that is memory-mapped
afterwards. Augmentation works on whole batches of tensors, one affine map an image.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.labelled import LabelledImages, ReadOptions

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DecodedImages:
    """One decoded split.

    Attributes:
        images: uint8 ``[N, 3, size, size]``, RGB, memory-mapped.
        labels: int64 ``[N]``, index into ``classes``.
        classes: folder names, sorted.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def resized(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Short side to ``size`` (bilinear), centre crop; uint8 [3, size, size]."""
    width, height = image.size
    short = min(width, height)
    if short != size:
        # Rounding half to even would disagree with torchvision, which truncates.
        width, height = int(size * width / short), int(size * height / short)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def decode_split(
    images: LabelledImages, split: str, size: int, options: ReadOptions | None = None
) -> DecodedImages:
    """Decode a split, or map what an earlier call decoded.

    Args:
        images: what :func:`sparsebench.models.images.open_images` opened.
        split: ``train`` or ``test``.
        size: side of the square images, in pixels.
        options: whose cache folder keeps the decoded bytes; the suite's own by default.

    Raises:
        SparsebenchError: an image that can no longer be read, no room for the bytes.
    """
    cache = (options or ReadOptions()).cache_folder("decoded")
    key = hashlib.sha256(f"v2 {size} {split} {images.sha256}".encode()).hexdigest()
    target = cache / f"{key[:32]}.npy"
    if not target.exists():
        try:
            _decode_all(images, split, size, target)
        except OSError as error:
            raise SparsebenchError(
                f"The decoded images cannot be kept in {cache}: {error.strerror}.",
                "Make room there, or set SPARSEBENCH_CACHE to another folder.",
            ) from error
    return DecodedImages(np.load(target, mmap_mode="r"), images.split(split).labels, images.classes)


def _decode_all(images: LabelledImages, split: str, size: int, target: Path) -> None:
    count = len(images.split(split))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shape = (count, 3, size, size)
    try:
        pixels = np.lib.format.open_memmap(temporary, "w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(usable_cpus()) as pool:
            made = pool.map(lambda index: resized(images.read(split, index), size), range(count))
            for index, image in enumerate(made):
                pixels[index] = image
        pixels.flush()
        temporary.replace(target)
    finally:  # an interrupt leaves nothing behind
        temporary.unlink(missing_ok=True)


def epoch_batches(
    examples: DecodedImages, batch_size: int, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled training batches of one epoch, the last partial one dropped.

    The order depends on ``(seed, epoch)`` alone, so that a resumed training sees what
    an uninterrupted one would have seen.

    Args:
        examples: the training split.
        batch_size: images a batch.
        seed: of the whole training.
        epoch: counted from 0.
        first: batches of this epoch to leave out at its start.

    Yields:
        uint8 ``[B, 3, S, S]`` and int64 ``[B]``.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(examples.labels))
    for batch in range(first, len(order) // batch_size):
        chosen = np.sort(order[batch * batch_size : (batch + 1) * batch_size])
        yield torch.from_numpy(examples.images[chosen]), torch.from_numpy(examples.labels[chosen])


def normalise(images: Tensor) -> Tensor:
    """uint8 ``[N, 3, H, W]`` to float32 with the mean and deviation of ImageNet."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1) * 255
    return (images.float() - mean) / std


def augment(
    images: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.35, 1.0),
    side: int | None = None,
) -> Tensor:
    """Random resized crop and horizontal flip of a whole batch, normalised.

    Area, aspect ratio and position are drawn as in torchvision's ``RandomResizedCrop``,
    except that a side longer than the image is shortened to it instead of drawn again.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        generator: on the CPU; the only source of randomness.
        scale: smallest and largest share of the image's area.
        side: of the result, in pixels; H and W by default.

    Returns:
        float32 ``[N, 3, side, side]``.
    """
    count = len(images)
    draw = torch.rand((5, count), generator=generator).to(images.device)
    area = scale[0] + (scale[1] - scale[0]) * draw[0]
    ratio = torch.exp((2 * draw[1] - 1) * math.log(4 / 3))
    width = (area * ratio).sqrt().clamp(max=1.0)
    height = (area / ratio).sqrt().clamp(max=1.0)
    mirror = torch.where(draw[4] < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(width)
    theta = torch.stack(
        [
            torch.stack([width * mirror, zero, (1 - width) * (2 * draw[2] - 1)], dim=1),
            torch.stack([zero, height, (1 - height) * (2 * draw[3] - 1)], dim=1),
        ],
        dim=1,
    )
    height_out, width_out = (side, side) if side else images.shape[2:]
    grid = functional.affine_grid(theta, [count, 3, height_out, width_out], align_corners=False)
    return functional.grid_sample(
        normalise(images), grid, padding_mode="reflection", align_corners=False
    )
