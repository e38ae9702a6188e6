"""The validation split."""

from __future__ import annotations

import numpy as np

from sparsebench.bench.tasks.validation_split import validation_split


def test_every_class_gives_its_part_and_keeps_one() -> None:
    labels = np.repeat(np.arange(4), [1, 2, 10, 100])
    train, held = validation_split(labels, 0.1)
    assert np.bincount(labels[held], minlength=4).tolist() == [0, 1, 1, 10]
    assert np.bincount(labels[train], minlength=4).tolist() == [1, 1, 9, 90]
    assert sorted([*train, *held]) == list(range(113))


def test_it_is_the_same_every_time_and_may_be_left_out() -> None:
    labels = np.arange(50) % 5
    first, second = validation_split(labels, 0.2), validation_split(labels, 0.2)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    train, held = validation_split(labels, 0.0)
    assert len(train) == 50 and len(held) == 0
