"""Fewer images of a task, every class in proportion: for quick runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.tasks.base import Task
from sparsebench.models.errors import SparsebenchError

SUBSET_SEED = 0


def limited(task: Task, limit: int) -> Task:
    """At most `limit` images of a task, train and test together, in proportion.

    The choice is fixed (`SUBSET_SEED`) and recorded: the name becomes ``NAME:LIMIT`` and
    the digest is its own. A task that is small enough is returned as it is.

    Raises:
        SparsebenchError: fewer images than one a class on either side.
    """
    least = 2 * len(task.classes)
    if limit < least:
        raise SparsebenchError(
            f"A limit of {limit} images is too small for the {len(task.classes)} classes "
            f"of '{task.name}'.",
            f"Take {least} or more: one image of each class for training, one for testing.",
        )
    total = len(task.train) + len(task.test)
    if limit >= total:
        return task
    train = round(limit * len(task.train) / total)
    train = min(max(train, len(task.classes)), limit - len(task.classes))
    chosen = [
        stratified_choice(split.labels, count, SUBSET_SEED)
        for split, count in ((task.train, train), (task.test, limit - train))
    ]
    digest = hashlib.sha256(task.sha256.encode())
    for positions in chosen:
        digest.update(b"\n" + ",".join(map(str, positions)).encode())
    return replace(
        task,
        name=f"{task.name}:{limit}",
        train=task.train.part(chosen[0]),
        test=task.test.part(chosen[1]),
        sha256=digest.hexdigest(),
    )


def stratified_choice(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Positions of `count` images, sorted; every class in proportion, none left out.

    Args:
        labels: class numbers ``[n]``.
        count: how many to choose, from the number of classes to n.
        seed: of the choice. ``RandomState`` is frozen: the same in every numpy.

    Returns:
        int64 ``[count]``.
    """
    generator = np.random.RandomState(seed)
    sizes = np.bincount(labels)
    quotas = _shares(sizes, count)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(quotas)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _shares(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Divide `count` in proportion to `sizes` (largest remainder), at least 1 where size > 0."""
    exact = sizes * (count / sizes.sum())
    shares = np.minimum(np.maximum(np.floor(exact).astype(np.int64), sizes > 0), sizes)
    while shares.sum() < count:
        gap = np.where(shares < sizes, exact - shares, -np.inf)
        shares[np.argmax(gap)] += 1
    while shares.sum() > count:
        gap = np.where(shares > 1, exact - shares, np.inf)
        shares[np.argmin(gap)] -= 1
    return [int(share) for share in shares]
