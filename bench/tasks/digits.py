"""``digits``: real images that every installation has, hence the offline default."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

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
    library = find_spec("sklearn")  # importing it takes as long as importing PyTorch
    assert library is not None and library.origin is not None
    with gzip.open(Path(library.origin).parent / "datasets/data/digits.csv.gz") as file:
        scans = np.loadtxt(file, delimiter=",", dtype=np.int64)
    pixels = np.rint(scans[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = scans[:, -1]
    test = stratified_choice(labels, round(len(labels) * TEST_SHARE), SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    return array_task("digits", [str(n) for n in range(10)], pixels, labels, train, test)
