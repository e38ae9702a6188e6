"""CIFAR-10 and Fashion-MNIST, through torchvision, fetched where the machine can."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.tasks.arrays import array_task
from bench.tasks.base import Task, TaskOptions
from models.errors import SparsebenchError

REACH_SECONDS = 5.0
"""How long a server may take to answer at all, so that an offline machine is told soon."""
STALL_SECONDS = 60.0
"""How long a download may stand still."""


def open_cifar10(options: TaskOptions) -> Task:
    """CIFAR-10: 50,000 + 10,000 photographs of 10 kinds of things, 32 x 32 pixels."""
    from torchvision.datasets import CIFAR10

    return _open("cifar10", CIFAR10, CIFAR10.url, "170 MB", options)


def open_fashion_mnist(options: TaskOptions) -> Task:
    """Fashion-MNIST: 60,000 + 10,000 grey pictures of 10 kinds of clothes, 28 x 28 pixels."""
    from torchvision.datasets import FashionMNIST

    return _open("fashion-mnist", FashionMNIST, FashionMNIST.mirrors[0], "30 MB", options)


def _open(
    name: str, dataset: Callable[..., Any], url: str, size: str, options: TaskOptions
) -> Task:
    root = options.data_dir or options.cache_folder("downloads")
    sides = _load(dataset, root)
    if sides is None:
        place = f"The data set '{name}' is not in {root}"
        if not options.download:
            raise SparsebenchError(f"{place}.", f"Allow the download ({size}), or copy it there.")
        _reach(url, place, root)
        _download(dataset, root, place)
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


def _reach(url: str, place: str, root: Path) -> None:
    """Find out within seconds whether the server can be had at all.

    Raises:
        SparsebenchError: it cannot.
    """
    outcome: list[object] = []
    # In a thread, because looking up a name obeys no timeout.
    thread = threading.Thread(target=lambda: outcome.append(_knock(url)), daemon=True)
    thread.start()
    thread.join(2 * REACH_SECONDS)
    reason = outcome[0] if outcome else "no answer"
    if reason is not None:
        raise SparsebenchError(
            f"{place} and cannot be downloaded from here ({reason}).",
            f"Copy torchvision's folder of it into {root}, or take the task 'digits'.",
        )


def _knock(url: str) -> object:
    """None when a server answers, else why not."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # it answers; some servers do not know HEAD
    except OSError as error:
        return getattr(error, "reason", error)
    return None


def _download(dataset: Callable[..., Any], root: Path, place: str) -> None:
    """Fetch both sides. torchvision checks sums and fetches a broken file anew.

    Raises:
        SparsebenchError: the download broke or the folder cannot be written.
    """
    try:
        with _socket_timeout(STALL_SECONDS):
            dataset(root, train=True, download=True)
            dataset(root, train=False, download=True)
    except (RuntimeError, OSError, EOFError) as error:
        text = " ".join(str(error).split())
        raise SparsebenchError(
            f"{place} and its download broke off ({text}).", "Start again; it begins anew."
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision sets no timeout of its own and would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
