"""CIFAR and Fashion-MNIST: arrays, read by torchvision, fetched where the machine can."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench.bench.tasks.arrays import array_task
from sparsebench.bench.tasks.base import Task, TaskOptions
from sparsebench.bench.tasks.download import Remote, reach
from sparsebench.bench.tasks.presence import ON_DISK, download_size
from sparsebench.models.errors import SparsebenchError

log = logging.getLogger("sparsebench")


def open_cifar10(options: TaskOptions) -> Task:
    """CIFAR-10: photographs of 10 kinds of things, 32 x 32 pixels."""
    from torchvision.datasets import CIFAR10

    return _open("cifar10", CIFAR10, _archive(CIFAR10), options)


def open_cifar100(options: TaskOptions) -> Task:
    """CIFAR-100: photographs of 100 kinds of things, 32 x 32 pixels."""
    from torchvision.datasets import CIFAR100

    return _open("cifar100", CIFAR100, _archive(CIFAR100), options)


def open_fashion_mnist(options: TaskOptions) -> Task:
    """Fashion-MNIST: grey images of 10 kinds of clothes, 28 x 28 pixels."""
    from torchvision.datasets import FashionMNIST

    remotes = [
        Remote(f"{FashionMNIST.mirrors[0]}{file}", file, md5, "FashionMNIST/raw")
        for file, md5 in FashionMNIST.resources
    ]
    return _open("fashion-mnist", FashionMNIST, remotes, options)


def _archive(dataset: Any) -> list[Remote]:
    return [Remote(dataset.url, dataset.filename, dataset.tgz_md5)]


def _open(
    name: str,
    dataset: Callable[..., Any],
    remotes: Sequence[Remote],
    options: TaskOptions,
) -> Task:
    root = options.data_dir or options.cache_folder("downloads")
    sides = _load(dataset, root)
    if sides is None:
        state = "is damaged" if (root / ON_DISK[name]).is_dir() else "is not there"
        place = f"The data set '{name}' in {root} {state}"
        if not options.download:
            raise SparsebenchError(
                f"{place}.",
                f"Allow the download ({download_size(name)}), or copy {ON_DISK[name]}/ there.",
            )
        if (reason := reach(remotes[0].url)) is not None:
            raise SparsebenchError(
                f"{place} and cannot be downloaded from here ({reason}).",
                f"Copy torchvision's folder {ON_DISK[name]}/ of it into {root}, or take the "
                "task 'digits'.",
            )
        from sparsebench.bench.tasks.unpacking import fetch_and_unpack

        fetch_and_unpack(name, remotes, root, options.say or log.info)
        sides = _load(dataset, root)
    if sides is None:
        raise SparsebenchError(
            f"The files of '{name}' in {root} are damaged.", "Remove them and start again."
        )
    train, test = sides
    pixels = np.concatenate([np.asarray(train.data), np.asarray(test.data)])
    labels = np.concatenate([np.asarray(train.targets), np.asarray(test.targets)])
    order = np.arange(len(labels))
    first, second = np.split(order, [len(train.data)])
    return array_task(name, train.classes, pixels, labels.astype(np.int64), first, second)


def _load(dataset: Callable[..., Any], root: Path) -> tuple[Any, Any] | None:
    """Both sides of a data set that is there; None when it is missing or damaged."""
    try:
        return dataset(root, train=True), dataset(root, train=False)
    except (RuntimeError, OSError, ValueError, EOFError, AssertionError):
        return None  # torchvision's ways to say: not found, wrong checksum, cut short
