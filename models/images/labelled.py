"""Labelled images in a train and a test split, whatever holds them: what a task is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsebench.models.cache import cache_dir
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.losses import Losses
from sparsebench.models.images.text import shortened

DigestRow = tuple[str, int, str]
"""Name inside the split, label, and sha256 of one image's content."""


class ImageStore(Protocol):
    """Where images lie. Safe to read from several threads at once."""

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB image.

        Args:
            item: one of :attr:`Split.items`.
            at_least: short side in pixels that the caller will resize to; an image far
                larger than that may come back smaller (``sparsebench.models.images.decoding``).

        Raises:
            SparsebenchError: the image is gone or can no longer be decoded.
        """
        ...


@dataclass(frozen=True)
class ReadOptions:
    """How images are read.

    Attributes:
        cache: folder that remembers which images were checked, and holds unpacked archives
            and decoded images; None for the suite's own cache folder.
        workers: threads for checking images; None for the CPUs this process may use.
        strict: fail when a single image cannot be read, instead of leaving it out.
        allow_image_loss: go on even where a class loses most of its images.
        progress: told (images checked, images to check).
    """

    cache: Path | None = None
    workers: int | None = None
    strict: bool = False
    allow_image_loss: bool = False
    progress: Callable[[int, int], None] | None = None

    def cache_folder(self, *parts: str) -> Path:
        """A folder below the cache, made if it is missing."""
        if self.cache is None:
            return cache_dir("tasks", *parts)
        folder = self.cache.joinpath(*parts)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SparsebenchError(
                f"The cache folder {folder} cannot be made ({error.strerror}).",
                "Name a folder you can write.",
            ) from error
        return folder

    def threads(self) -> int:
        """Threads to check images with."""
        return self.workers or usable_cpus()


@dataclass(frozen=True, eq=False)
class Split:
    """One side of a data set, in a fixed order.

    Attributes:
        items: what :meth:`ImageStore.read` takes, one an image.
        labels: class numbers ``[n]``, int64.
    """

    items: Sequence[Hashable]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    def part(self, positions: NDArray[np.int64]) -> Split:
        """The images at these positions, in their order."""
        return Split([self.items[i] for i in positions], self.labels[positions])


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of known classes in a train and a test split.

    Attributes:
        name: registered name, or the folder's or archive's.
        classes: class names; a label is a position in it.
        train: images to train on.
        test: images to evaluate on.
        sha256: digest of the split's content: names, labels, bytes and order.
        store: reads the images.
        skipped: images that cannot be decoded, each ``"name: reason"``.
        ignored: number of files that are left alone.
        others: ending -> files inside of classes that are no images.
        losses: of each class what was left out (``sparsebench.models.images.losses``).

    Raises:
        SparsebenchError: fewer than two classes, or a class without images.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    sha256: str
    store: ImageStore
    skipped: tuple[str, ...] = ()
    ignored: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise SparsebenchError(
                f"'{self.name}' has {len(self.classes)} class(es).",
                "A head needs at least two to tell apart.",
            )
        for side, split in (("train", self.train), ("test", self.test)):
            if len(split.items) != len(split.labels):
                raise ValueError(f"{side}: {len(split.items)} items, {len(split.labels)} labels")
            counts = class_counts(split.labels, len(self.classes), self.name)
            empty = [self.classes[i] for i in np.flatnonzero(counts == 0)]
            if empty:
                raise SparsebenchError(
                    f"'{self.name}' has no {side} image of {shortened(empty)}.",
                    "Every class needs images on both sides.",
                )

    def split(self, name: str) -> Split:
        """The side called ``train`` or ``test``."""
        if name == "train":
            return self.train
        if name == "test":
            return self.test
        raise ValueError(f"there are train and test, not {name!r}")

    def read(self, split: str, index: int, at_least: int | None = None) -> Image.Image:
        """One image, as RGB; ``at_least`` as in :meth:`ImageStore.read`."""
        return self.store.read(self.split(split).items[index], at_least)


def labelled(rows: Sequence[tuple[Hashable, str, int]]) -> Split:
    """A split from (item, name, label) rows."""
    labels = np.fromiter((label for _, _, label in rows), np.int64, len(rows))
    return Split([item for item, _, _ in rows], labels)


def class_counts(labels: NDArray[np.int64], classes: int, name: str) -> NDArray[np.int64]:
    """Images of each class ``[classes]``.

    Raises:
        SparsebenchError: a label outside ``0 .. classes - 1``.
    """
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        bad = int(labels[(labels < 0) | (labels >= classes)][0])
        raise SparsebenchError(
            f"'{name}' has the label {bad}, but {classes} classes.",
            f"Labels go from 0 to {classes - 1}.",
        )
    return np.bincount(labels, minlength=classes).astype(np.int64)


def split_digest(
    classes: Sequence[str], train: Iterable[DigestRow], test: Iterable[DigestRow]
) -> str:
    """Content hash of a split: the same images give the same digest, whatever holds them."""
    digest = hashlib.sha256(b"sparsebench task 1\n")
    digest.update(json.dumps(list(classes)).encode() + b"\n")
    for side, rows in (("train", train), ("test", test)):
        for row in rows:
            digest.update(json.dumps([side, *row]).encode() + b"\n")
    return digest.hexdigest()
