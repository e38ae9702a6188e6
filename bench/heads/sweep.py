"""Regularization: all weight decays trained at once, the best one by a validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.heads.evaluate import evaluate
from sparsebench.bench.heads.fit import fit_heads, torch_threads
from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.sgd import train_sgd
from sparsebench.bench.tasks.validation_split import validation_split
from sparsebench.models.errors import SparsebenchError


def sweep(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: LinearRecipe,
    weight_decays: Sequence[float],
    *,
    share: float,
    metric: str,
    threads: int | None = None,
) -> dict[float, float]:
    """Accuracy of every strength on images that were held out from the training set.

    Under ``sgd`` all weight decays are one batched problem; under ``lbfgs`` each is a problem of
    its own, which takes no longer.

    Args:
        features: of the training images ``[n, D]``.
        labels: ``[n]``.
        classes: number of classes.
        recipe: settings; its first seed is used.
        weight_decays: values to try.
        share: of the images that validates, above 0.
        metric: ``top1`` or ``mean_per_class``.
        threads: PyTorch's threads.

    Returns:
        Weight decay -> validation accuracy (0-1).

    Raises:
        SparsebenchError: nothing is left to validate on; a training that diverges.
    """
    train, held = validation_split(labels, share)
    if not len(held):
        raise SparsebenchError(
            "There are no images to choose the regularization on.",
            "Set `validation` above 0, and take a task with two images a class.",
        )
    seen, wanted = features[train], labels[train]
    found: list[LinearHeads]
    if recipe.solver == "sgd":
        with torch_threads(threads):
            found = [train_sgd(seen, wanted, classes, recipe, weight_decays=weight_decays)]
    else:
        found = [
            fit_heads(
                seen,
                wanted,
                classes,
                recipe=replace(recipe, weight_decay=decay, seeds=recipe.seeds[:1]),
                threads=threads,
            )
            for decay in weight_decays
        ]
    scores = [
        score / 100
        for heads in found
        for score in evaluate(heads, features[held], labels[held], metric).accuracy
    ]
    return dict(zip(map(float, weight_decays), scores, strict=True))


def strongest(scores: Mapping[float, float]) -> float:
    """The best weight decay; of equals the strongest, which generalizes at no cost."""
    return max(scores, key=lambda decay: (scores[decay], decay))
