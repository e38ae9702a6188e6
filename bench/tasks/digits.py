"""``digits``: real images that every installation has, hence the offline default."""

from __future__ import annotations

import numpy as np

from sparsebench.bench.tasks.arrays import array_task
from sparsebench.bench.tasks.base import Task, TaskOptions
from sparsebench.bench.tasks.subset import stratified_choice

SPLIT_SEED = 0
TEST_SHARE = 0.3


def open_digits(options: TaskOptions) -> Task:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; 70 % train, 30 % test.

    The scans (Alpaydin and Kaynak, UCI, 1998; the UCI test set) have values 0-16, here
    0-255. The split is stratified and fixed: `TEST_SHARE` of each class, drawn with
    `SPLIT_SEED` by numpy's frozen generator, so it is the same everywhere and forever.
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    pixels = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    labels = scans.target.astype(np.int64)
    test = stratified_choice(labels, round(len(labels) * TEST_SHARE), SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    return array_task("digits", [str(n) for n in range(10)], pixels, labels, train, test)
