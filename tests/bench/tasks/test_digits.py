from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from sparsebench.bench.tasks import open_task


def test_all_scans_are_there_once_and_scaled_to_bytes() -> None:
    task = open_task("digits")
    scans = load_digits()
    seen = sorted([*task.train.items, *task.test.items])  # type: ignore[type-var]
    assert seen == list(range(1797))
    for side in ("train", "test"):
        split = task.split(side)
        positions = np.array(split.items, dtype=np.int64)
        assert np.array_equal(split.labels, scans.target[positions])
        for index in range(0, len(split), 101):
            pixels = np.asarray(task.read(side, index)).astype(float)
            assert pixels.shape == (8, 8, 3)
            assert np.abs(pixels[:, :, 0] * 16 / 255 - scans.images[positions[index]]).max() < 0.04
            assert (pixels == pixels[:, :, :1]).all()


def test_the_split_is_stratified_at_seventy_to_thirty() -> None:
    task = open_task("digits")
    assert len(task.test) == round(0.3 * 1797)
    whole = np.bincount(load_digits().target)
    assert np.abs(np.bincount(task.test.labels) - 0.3 * whole).max() < 1


def test_a_plain_classifier_finds_the_digits_in_it() -> None:
    """scikit-learn's own documentation reports about 97 % for such a split."""
    from sklearn.linear_model import LogisticRegression

    task = open_task("digits")
    sides = {
        side: np.stack(
            [
                np.asarray(task.read(side, i))[:, :, 0].ravel() / 255
                for i in range(len(task.split(side)))
            ]
        )
        for side in ("train", "test")
    }
    model = LogisticRegression(max_iter=1000).fit(sides["train"], task.train.labels)
    assert model.score(sides["test"], task.test.labels) > 0.93
