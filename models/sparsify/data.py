"""Training pictures: an ImageFolder, decoded once into bytes on disk, augmented in batches.

Decoding JPEGs in every epoch would cost a CPU as much as the training of a small
network, so a split is decoded once into one file of bytes that is memory-mapped
afterwards. Augmentation works on whole batches of tensors, one affine map a picture.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sparsebench.models.errors import SparsebenchError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Pictures:
    """One decoded split.

    Attributes:
        images: uint8 ``[N, 3, size, size]``, RGB, memory-mapped.
        labels: int64 ``[N]``, index into ``classes``.
        classes: folder names, sorted.
        skipped: paths of files that could not be decoded.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = field(default=())


def cache_root() -> Path:
    """Where decoded pictures live between runs: ``sparsebench`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "sparsebench" / "pictures"


def split_folder(data: Path, split: str) -> Path:
    """Folder of ``"train"`` or ``"test"`` (``val`` and the like count as test).

    Raises:
        SparsebenchError: there is none.
    """
    names = TRAIN_FOLDERS if split == "train" else TEST_FOLDERS
    for name in names:
        if (data / name).is_dir():
            return data / name
    raise SparsebenchError(
        f"{data} has no folder {'train' if split == 'train' else 'test or val'}."
        if data.is_dir()
        else f"There is no folder {data}.",
        "Lay the pictures out as train/CLASS/*.jpg and test/CLASS/*.jpg.",
    )


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders, sorted."""
    names = (p.name for p in folder.iterdir() if p.is_dir())
    return sorted(n for n in names if not n.startswith(".") and n != "__MACOSX")


def list_pictures(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Paths, labels and class names of ``folder/CLASS/**/picture``, sorted by path.

    Hidden folders and what archives leave behind (``__MACOSX``) are no classes.

    Raises:
        SparsebenchError: no class folder, or no picture in any of them.
    """
    classes = class_folders(folder)
    paths: list[Path] = []
    labels: list[int] = []
    for index, name in enumerate(classes):
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        paths += found
        labels += [index] * len(found)
    if not paths:
        raise SparsebenchError(
            f"{folder} holds no pictures in class folders.",
            f"Lay them out as {folder}/CLASS/*.jpg.",
        )
    return paths, labels, tuple(classes)


def read_picture(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode one picture: short side to ``size`` (bilinear), centre crop; uint8 [3, size, size].

    Raises:
        OSError: not a picture that Pillow can decode.
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    short = min(width, height)
    if short != size:
        # Rounding half to even would disagree with torchvision, which truncates.
        width, height = int(size * width / short), int(size * height / short)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    picture = picture.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))


def open_pictures(folder: Path, size: int, cache: Path | None = None) -> Pictures:
    """Decode a split, or map what an earlier call decoded.

    Args:
        folder: ``folder/CLASS/picture``.
        size: side of the square pictures, in pixels.
        cache: where the decoded bytes are kept; the user's cache folder by default.

    Raises:
        SparsebenchError: no pictures, or none that can be decoded.
    """
    paths, labels, classes = list_pictures(folder)
    cache = cache or cache_root()
    target = cache / f"{_fingerprint(folder, paths, size)}.npy"
    if not target.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _decode_all(paths, size, target)
        except OSError as error:
            raise SparsebenchError(
                f"The decoded pictures cannot be kept in {cache}: {error.strerror}.",
                "Make room there, or name another place with XDG_CACHE_HOME.",
            ) from error
    images = np.load(target, mmap_mode="r")
    whole = np.load(target.with_suffix(".ok.npy"))
    skipped = tuple(str(p) for p, ok in zip(paths, whole, strict=True) if not ok)
    if not whole.any():
        raise SparsebenchError(f"None of the {len(paths)} pictures in {folder} can be decoded.")
    return Pictures(images, np.asarray(labels, np.int64)[whole], classes, skipped)


def _fingerprint(folder: Path, paths: list[Path], size: int) -> str:
    digest = hashlib.sha256(f"v1 {size} {folder.resolve()}".encode())
    for path in paths:
        stat = path.stat()
        digest.update(f"\n{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:24]


def _decode_all(paths: list[Path], size: int, target: Path) -> None:
    def decode(path: Path) -> NDArray[np.uint8] | None:
        try:
            return read_picture(path, size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None

    whole = np.zeros(len(paths), dtype=bool)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shape = (len(paths), 3, size, size)
    try:
        images = np.lib.format.open_memmap(temporary, "w+", dtype=np.uint8, shape=shape)
        kept = 0
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for index, picture in enumerate(pool.map(decode, paths)):
                if picture is not None:
                    images[kept] = picture
                    whole[index] = True
                    kept += 1
        images.flush()
        if kept < len(paths):  # the file holds whole pictures only
            full = np.array(images[:kept])
            del images
            with open(temporary, "wb") as stream:
                np.save(stream, full)
        with open(target.with_suffix(".ok.npy"), "wb") as stream:
            np.save(stream, whole)
        temporary.replace(target)
    finally:  # an interrupt leaves nothing behind
        temporary.unlink(missing_ok=True)


def epoch_batches(
    pictures: Pictures, batch_size: int, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled training batches of one epoch, the last partial one dropped.

    The order depends on ``(seed, epoch)`` alone, so that a resumed training sees what
    an uninterrupted one would have seen.

    Args:
        pictures: the training split.
        batch_size: pictures a batch.
        seed: of the whole training.
        epoch: counted from 0.
        first: batches of this epoch to leave out at its start.

    Yields:
        uint8 ``[B, 3, S, S]`` and int64 ``[B]``.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(pictures.labels))
    for batch in range(first, len(order) // batch_size):
        chosen = np.sort(order[batch * batch_size : (batch + 1) * batch_size])
        yield torch.from_numpy(pictures.images[chosen]), torch.from_numpy(pictures.labels[chosen])


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
    except that a side longer than the picture is shortened to it instead of drawn again.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        generator: on the CPU; the only source of randomness.
        scale: smallest and largest share of the picture's area.
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
