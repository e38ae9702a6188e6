"""Trained linear heads, one a seed, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class LinearHeads:
    """Heads of S seeds for C classes on D features.

    Attributes:
        weights: ``[S, C, D]``, float32.
        bias: ``[S, C]``, float32.
        seeds: the seeds, in order.
        losses: mean training cross-entropy ``[epochs, S]`` (for L-BFGS ``[iterations, S]``,
            the penalty included), nats, float64.
        trained_by: what ran the training: ``torch``, or ``native-`` and the instruction set.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    seeds: tuple[int, ...]
    losses: NDArray[np.float64]
    trained_by: str = "torch"

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """The class each head gives each image, ``[S, n]``; `features` are ``[n, D]``."""
        heads, classes, width = self.weights.shape
        if features.ndim != 2 or features.shape[1] != width:
            raise ValueError(f"features {features.shape} do not fit heads on {width} features")
        matrix = torch.from_numpy(self.weights).reshape(heads * classes, width)
        bias = torch.from_numpy(self.bias).reshape(heads * classes)
        found = torch.empty(len(features), heads, dtype=torch.int64)
        for start in range(0, len(features), _CHUNK):
            rows = torch.tensor(features[start : start + _CHUNK], dtype=torch.float32)
            scores = torch.addmm(bias, rows, matrix.t()).view(len(rows), heads, classes)
            torch.argmax(scores, dim=2, out=found[start : start + _CHUNK])
        result: NDArray[np.int64] = found.t().contiguous().numpy()
        return result


def check_training_set(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> None:
    """Refuse what no head can be trained on.

    Args:
        features: ``[n, D]``.
        labels: ``[n]``.
        classes: number of classes.

    Raises:
        SparsebenchError: labels out of range, features that are not finite, no images.
    """
    if features.ndim != 2 or labels.shape != (len(features),):
        raise ValueError(f"features {features.shape} and labels {labels.shape} do not match")
    if len(features) == 0 or classes < 2:
        raise SparsebenchError(
            f"A head cannot be trained on {len(features)} images of {classes} classes.",
            "Take a task with two classes or more, and images of each.",
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise SparsebenchError(
            f"The label {low if low < 0 else high} is out of range for {classes} classes.",
            f"Labels go from 0 to {classes - 1}.",
        )
    for start in range(0, len(features), _CHUNK):
        if not np.isfinite(features[start : start + _CHUNK]).all():
            raise SparsebenchError(
                "Some features are not finite numbers.",
                "Check the backbone's weights and the engine's precision.",
            )
