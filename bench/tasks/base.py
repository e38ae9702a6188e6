"""What a task is: labelled pictures in a fixed train and test split, and a metric."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsebench.models.errors import SparsebenchError, UnknownNameError

Metric = Literal["top1", "mean_per_class"]
SplitName = Literal["train", "test"]
METRICS: tuple[str, ...] = get_args(Metric)

DigestRow = tuple[str, int, str]
"""Name inside the split, label, and sha256 of one picture's content."""


class PictureStore(Protocol):
    """Where a task's pictures lie. Safe to read from several threads at once."""

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB picture.

        Args:
            item: one of :attr:`Split.items`.
            at_least: short side in pixels that the caller will resize to; a picture far
                larger than that may come back smaller (``sparsebench.bench.tasks.pictures``).

        Raises:
            SparsebenchError: the picture is gone or can no longer be decoded.
        """
        ...


@dataclass(frozen=True)
class TaskOptions:
    """What whoever opens a task may say; every builder takes one of these.

    Attributes:
        data_dir: where data sets that can be downloaded lie or go.
        cache: folder that remembers which pictures were checked, and holds unpacked
            archives; None for the suite's own cache folder.
        workers: threads for checking pictures; None for the cores this process may use.
        strict: fail on the first picture that cannot be decoded, instead of skipping it.
        download: whether a missing data set may be fetched.
        progress: told (pictures checked, pictures to check) while a task is opened.
        say: told in words what takes time (a download); None for the log.
    """

    data_dir: Path | None = None
    cache: Path | None = None
    workers: int | None = None
    strict: bool = False
    download: bool = True
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] | None = None

    def cache_folder(self, *parts: str) -> Path:
        """A folder below the cache, made if it is missing."""
        from sparsebench.models.cache import cache_dir

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
        """Threads to check pictures with."""
        return self.workers or available_cores()


@dataclass(frozen=True, eq=False)
class Split:
    """One side of a task, in a fixed order.

    Attributes:
        items: what :meth:`PictureStore.read` takes, one a picture.
        labels: class numbers ``[n]``, int64.
    """

    items: Sequence[Hashable]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, eq=False)
class Task:
    """A downstream data set.

    Attributes:
        name: registered name, or the folder's or archive's.
        classes: class names; a label is a position in it.
        metric: what its accuracy means: ``top1``, or ``mean_per_class`` (the mean of the
            classes' own accuracies).
        train: pictures the head is trained on.
        test: pictures it is evaluated on.
        sha256: digest of the split's content: names, labels, bytes and order.
        store: reads the pictures.
        skipped: pictures that are left out, each ``"name: reason"``.
        ignored: number of files that are no pictures.
        notes: what whoever reads its accuracies should know.

    Raises:
        SparsebenchError: fewer than two classes, or a class without pictures.
    """

    name: str
    classes: tuple[str, ...]
    metric: Metric
    train: Split
    test: Split
    sha256: str
    store: PictureStore
    skipped: tuple[str, ...] = ()
    ignored: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise SparsebenchError(
                f"The task '{self.name}' has {len(self.classes)} class(es).",
                "A head needs at least two to tell apart.",
            )
        for side, split in (("train", self.train), ("test", self.test)):
            if len(split.items) != len(split.labels):
                raise ValueError(f"{side}: {len(split.items)} items, {len(split.labels)} labels")
            counts = class_counts(split.labels, len(self.classes), self.name)
            empty = [self.classes[i] for i in np.flatnonzero(counts == 0)]
            if empty:
                raise SparsebenchError(
                    f"The task '{self.name}' has no {side} picture of {shortened(empty)}.",
                    "Every class needs pictures on both sides.",
                )

    def split(self, name: str) -> Split:
        """The side called ``train`` or ``test``."""
        if name == "train":
            return self.train
        if name == "test":
            return self.test
        raise ValueError(f"a task has train and test, not {name!r}")

    def read(self, split: str, index: int, at_least: int | None = None) -> Image.Image:
        """One picture, as RGB; ``at_least`` as in :meth:`PictureStore.read`."""
        return self.store.read(self.split(split).items[index], at_least)

    def with_metric(self, metric: str) -> Task:
        """The same task under another metric."""
        return replace(self, metric=known_metric(metric))

    def with_notes(self) -> Task:
        """The same task, with notes on classes of which a side has a single picture."""
        notes = []
        for side, split in (("train", self.train), ("test", self.test)):
            counts = class_counts(split.labels, len(self.classes), self.name)
            lone = [self.classes[i] for i in np.flatnonzero(counts == 1)]
            if lone:
                meaning = {
                    "train": "nothing of them can be held out for validation",
                    "test": "their own accuracy is 0 or 100 %",
                }[side]
                notes.append(
                    f"{len(lone)} class(es) with a single {side} picture "
                    f"({shortened(lone)}): {meaning}"
                )
        return replace(self, notes=(*self.notes, *notes))

    def describe(self) -> dict[str, Any]:
        """The record's ``task`` entry."""
        return {
            "name": self.name,
            "classes": len(self.classes),
            "train": len(self.train),
            "test": len(self.test),
            "metric": self.metric,
            "sha256": self.sha256,
        }


def labelled(rows: Sequence[tuple[Hashable, str, int]]) -> Split:
    """A split from (item, name, label) rows."""
    labels = np.fromiter((label for _, _, label in rows), np.int64, len(rows))
    return Split([item for item, _, _ in rows], labels)


def class_counts(labels: NDArray[np.int64], classes: int, name: str) -> NDArray[np.int64]:
    """Pictures of each class ``[classes]``.

    Raises:
        SparsebenchError: a label outside ``0 .. classes - 1``.
    """
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        bad = int(labels[(labels < 0) | (labels >= classes)][0])
        raise SparsebenchError(
            f"The task '{name}' has the label {bad}, but {classes} classes.",
            f"Labels go from 0 to {classes - 1}.",
        )
    return np.bincount(labels, minlength=classes).astype(np.int64)


def task_digest(
    classes: Sequence[str], train: Iterable[DigestRow], test: Iterable[DigestRow]
) -> str:
    """Content hash of a split: the same pictures give the same digest, whatever holds them."""
    digest = hashlib.sha256(b"sparsebench task 1\n")
    digest.update(json.dumps(list(classes)).encode() + b"\n")
    for side, rows in (("train", train), ("test", test)):
        for row in rows:
            digest.update(json.dumps([side, *row]).encode() + b"\n")
    return digest.hexdigest()


def known_metric(metric: str) -> Metric:
    """The metric of this name.

    Raises:
        UnknownNameError: there is none.
    """
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    return cast(Metric, metric)


def shortened(names: Sequence[str], most: int = 5) -> str:
    """``a, b, c and 4 more``, fit for a terminal."""
    shown = ", ".join(printable(name) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def printable(name: str) -> str:
    """A file's name without what a terminal would obey (control characters, lone bytes)."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
