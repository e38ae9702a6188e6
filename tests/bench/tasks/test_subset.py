from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.subset import limited, stratified_choice
from sparsebench.models.errors import SparsebenchError


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_a_choice_has_the_size_asked_for_and_every_class(
    sizes: list[int], share: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(seed).permutation(labels)
    count = max(len(sizes), round(share * len(labels)))
    chosen = stratified_choice(labels, count, seed)
    assert len(chosen) == count
    assert len(set(chosen.tolist())) == count
    assert (np.diff(chosen) > 0).all()
    assert set(labels[chosen]) == set(range(len(sizes)))


@given(st.lists(st.integers(20, 60), min_size=2, max_size=8), st.floats(0.3, 1))
def test_classes_keep_their_proportion(sizes: list[int], share: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    count = round(share * len(labels))
    chosen = np.bincount(labels[stratified_choice(labels, count, 0)], minlength=len(sizes))
    assert np.abs(chosen - np.array(sizes) * count / len(labels)).max() < 1.001


def test_train_and_test_keep_their_proportion() -> None:
    part = limited(open_task("digits"), 200)
    assert (len(part.train), len(part.test)) == (140, 60)
    assert set(part.train.items) <= set(open_task("digits").train.items)


def test_a_limit_below_one_image_a_class_is_refused() -> None:
    with pytest.raises(SparsebenchError, match="Take 20 or more"):
        limited(open_task("digits"), 19)
    least = limited(open_task("digits"), 20)
    assert (len(least.train), len(least.test)) == (10, 10)
