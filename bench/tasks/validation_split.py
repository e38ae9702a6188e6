"""A validation split: what chooses the best epoch and the target, because the test set may not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def validation_split(labels: NDArray[np.int64], share: float) -> tuple[Indices, Indices]:
    """Positions to train on, and to validate on, the same for every seed and backbone.

    Every class gives its part, but never its last image; a class with one image gives
    none.

    Args:
        labels: class numbers ``[n]``.
        share: of the images that validate, 0 (none) to below 1.

    Returns:
        Sorted positions: training, validation.
    """
    chosen = np.zeros(len(labels), bool)
    generator = np.random.default_rng(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        # At least one image of a class that can spare it.
        count = min(len(members) - 1, max(1, round(share * len(members)))) if share > 0 else 0
        chosen[members[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
