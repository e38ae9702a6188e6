"""SGD heads of several seeds, trained at once.

The result is that of one plain PyTorch loop a seed::

    torch.manual_seed(seed)
    head = torch.nn.Linear(D, C)
    optimizer = torch.optim.SGD(head.parameters(), lr, momentum, weight_decay=weight_decay)
    for epoch in range(epochs):
        for batch in torch.randperm(n).split(batch_size):
            loss = cross_entropy(head(features[batch]), labels[batch])
            optimizer.zero_grad(); loss.backward(); optimizer.step()

with the same initial weights and the same order of images, up to float32 rounding (a test
holds it to that). A fused kernel does it where there are AVX2 and a C++ compiler, PyTorch
elsewhere; the heads say which of them it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.batched import BatchedTraining
from sparsebench.bench.heads.kernel import find_kernel
from sparsebench.bench.heads.linear import LinearHeads, check_training_set
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.native import NativeTraining
from sparsebench.bench.heads.problem import Problem, Training
from sparsebench.models.errors import SparsebenchError, UnknownNameError

OnEpoch = Callable[[int, LinearHeads], None]
EXECUTIONS = ("native", "torch")


def train_sgd(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: LinearRecipe,
    on_epoch: OnEpoch | None = None,
    *,
    weight_decays: Sequence[float] | None = None,
    execution: str | None = None,
) -> LinearHeads:
    """Train one head a seed with the same recipe, all at once.

    The training features are held in memory once, besides what is passed in. The first call in
    a process compiles the kernel if it never was: :func:`bench.heads.kernel.find_kernel` does
    it beforehand where a clock runs.

    Args:
        features: ``[n, D]``, float32.
        labels: ``[n]``, ``0 .. classes - 1``.
        classes: number of classes C.
        recipe: settings; ``recipe.seeds`` gives S heads.
        on_epoch: called after every epoch (from 0) with the heads as they are then; they
            share memory with the training and are only valid during the call.
        weight_decays: instead of one head a seed, one head for each of these weight decays,
            all with the recipe's first seed.
        execution: ``native`` (the kernel) or ``torch``; by default the kernel where there is
            one (see :func:`sparsebench.bench.heads.kernel.find_kernel`).

    Raises:
        SparsebenchError: labels or features no head can be trained on; a loss that is no
            longer a finite number (says at which seed, epoch, step and rate); the kernel is
            asked for and cannot be compiled.
    """
    check_training_set(features, labels, classes)
    rates = recipe.rates()
    with torch.inference_mode():
        problem = Problem(features, labels, classes, recipe, weight_decays)
        training = _training(execution, problem)
        losses = np.zeros((recipe.epochs, len(training.seeds)))
        at_once = 1 if on_epoch else training.epochs_at_once
        for first in range(0, recipe.epochs, at_once):
            losses[first : first + at_once] = training.run(first, rates[first : first + at_once])
            if on_epoch:
                on_epoch(first, training.heads(losses[: first + 1]))
        now = training.heads(losses)
    finite = np.isfinite(now.weights).all(axis=(1, 2)) & np.isfinite(now.bias).all(axis=1)
    if not finite.all():  # the very last step did it
        steps = -(-len(features) // recipe.batch_size)
        raise training.diverged(int(np.flatnonzero(~finite)[0]), recipe.epochs - 1, steps - 1)
    return LinearHeads(now.weights.copy(), now.bias.copy(), now.seeds, losses, now.trained_by)


def _training(execution: str | None, problem: Problem) -> Training:
    if execution not in (None, *EXECUTIONS):
        raise UnknownNameError("execution", str(execution), EXECUTIONS)
    if execution != "torch":
        found = find_kernel(portable=execution == "native")
        if found.kernel is not None:
            return NativeTraining(found.kernel, problem)
        if execution == "native":
            raise SparsebenchError(found.reason)
    return BatchedTraining(problem)
