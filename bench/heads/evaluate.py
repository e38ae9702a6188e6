"""How good heads are on a split, in the task's metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.tasks.scores import score


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Accuracy of several heads on one split.

    Attributes:
        metric: ``top1`` or ``mean_per_class``.
        accuracy: percent (0-100) of each seed's head.
        predictions: class numbers ``[S, n]``.
    """

    metric: str
    accuracy: tuple[float, ...]
    predictions: NDArray[np.int64]


def evaluate(
    heads: LinearHeads,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    metric: str,
) -> Evaluation:
    """Predict with every head and score.

    Args:
        heads: trained heads.
        features: ``[n, D]``.
        labels: ``[n]``.
        metric: ``top1`` or ``mean_per_class``.

    Raises:
        UnknownNameError: no such metric.
    """
    predictions = heads.predict(features)
    accuracy = tuple(100 * score(metric, labels, found) for found in predictions)
    return Evaluation(metric, accuracy, predictions)
