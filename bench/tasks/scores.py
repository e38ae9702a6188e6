"""Accuracy of predictions in a task's metric.

Two lines of NumPy instead of scikit-learn's functions, which the tests hold them to: importing
those takes about two seconds, in each of the hundred processes of a run that trains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import UnknownNameError


def score(metric: str, labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Accuracy, a fraction 0-1.

    Args:
        metric: ``top1``, or ``mean_per_class``: the mean over the classes that occur among the
            labels of correct / count (scikit-learn's balanced accuracy).
        labels: class numbers ``[n]``, not negative.
        predicted: class numbers ``[n]``.

    Raises:
        UnknownNameError: no such metric.
    """
    if metric not in _SCORES:
        raise UnknownNameError("metric", metric, _SCORES)
    return float(_SCORES[metric](labels, labels == predicted))


def _top1(labels: NDArray[np.int64], right: NDArray[np.bool_]) -> float:
    return float(right.mean())


def _mean_per_class(labels: NDArray[np.int64], right: NDArray[np.bool_]) -> float:
    counts = np.bincount(labels)
    shares = np.bincount(labels, weights=right)[counts > 0] / counts[counts > 0]
    return float(shares.mean())


_SCORES = {"top1": _top1, "mean_per_class": _mean_per_class}
