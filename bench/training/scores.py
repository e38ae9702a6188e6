"""Accuracy of predictions in a task's metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Imported here, before any clock runs: it takes seconds.
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from models.errors import UnknownNameError

_SCORES = {"top1": accuracy_score, "mean_per_class": balanced_accuracy_score}


def score(metric: str, labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Accuracy, a fraction 0-1.

    Args:
        metric: ``top1``, or ``mean_per_class``: the mean over classes of correct / count.
        labels: class numbers ``[n]``.
        predicted: class numbers ``[n]``.

    Raises:
        UnknownNameError: no such metric.
    """
    if metric not in _SCORES:
        raise UnknownNameError("metric", metric, _SCORES)
    return float(_SCORES[metric](labels, predicted))
