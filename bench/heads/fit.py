"""One door to head training: the recipe says which solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.lbfgs import train_lbfgs
from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.sgd import OnEpoch, train_sgd

# Features times classes up to which L-BFGS takes one thread: a step is done in a quarter of a
# millisecond, and on a busy machine threads wait longer for each other (seen: 20 times as long).
_ONE_THREAD = 16 * 10**6


def fit_heads(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    *,
    recipe: LinearRecipe | None = None,
    seeds: Sequence[int] | None = None,
    threads: int | None = None,
    on_epoch: OnEpoch | None = None,
) -> LinearHeads:
    """Train one head a seed.

    Args:
        features: ``[n, D]``, float32.
        labels: ``[n]``, ``0 .. classes - 1``.
        classes: number of classes.
        recipe: settings; None for the paper's.
        seeds: instead of the recipe's.
        threads: PyTorch's threads during the training, at most; None leaves them as they are.
        on_epoch: see :func:`bench.heads.sgd.train_sgd`; ``lbfgs`` has no epochs and never
            calls it.

    Raises:
        SparsebenchError: see the solvers.
    """
    recipe = recipe or LinearRecipe()
    if seeds is not None:
        recipe = replace(recipe, seeds=tuple(seeds))
    if recipe.solver == "lbfgs" and features.size * classes <= _ONE_THREAD:
        threads = 1
    with torch_threads(threads):
        if recipe.solver == "lbfgs":
            return train_lbfgs(features, labels, classes, recipe)
        return train_sgd(features, labels, classes, recipe, on_epoch)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """PyTorch's threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)
