"""The optimum of the regularised convex problem, by L-BFGS on the full batch.

Minimised is ``mean cross-entropy + l2 / 2 * |weights|^2`` over weights and a free bias, with
``l2`` the recipe's weight decay: its gradient is what SGD with that weight decay follows
(save that SGD decays the bias too). scikit-learn's ``LogisticRegression`` minimises the same
function with ``C = 1 / (l2 * n)``.

The problem is solved in other coordinates: features are centred (the free bias absorbs
that) and divided by their common scale (the penalty is divided accordingly). Both leave the
optimum where it is; centring alone halves the number of steps.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bench.heads.linear import LinearHeads, check_training_set
from bench.heads.recipe import LinearRecipe
from models.errors import SparsebenchError

# Pairs of steps and gradients kept: 30 needs a fifth to a third fewer steps than 10.
_HISTORY = 30


def train_lbfgs(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: LinearRecipe,
) -> LinearHeads:
    """Train one head to the optimum; the same whatever the seed.

    Args:
        features: ``[n, D]``, float32.
        labels: ``[n]``, ``0 .. classes - 1``.
        classes: number of classes C.
        recipe: ``weight_decay``, ``max_iterations`` and ``tolerance`` are used.

    Returns:
        One head, repeated for every seed of the recipe.

    Raises:
        SparsebenchError: labels or features no head can be trained on; a loss that is not
            finite.
    """
    check_training_set(features, labels, classes)
    with torch.no_grad():
        problem = _Problem(features, labels, classes, recipe.weight_decay)
    optimizer = torch.optim.LBFGS(
        [problem.point],
        max_iter=recipe.max_iterations,
        max_eval=2 * recipe.max_iterations,
        tolerance_grad=recipe.tolerance,
        tolerance_change=1e-10,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )
    with torch.no_grad():
        optimizer.step(problem.evaluate)  # type: ignore[no-untyped-call]
    weights, bias = problem.solution()
    if not np.isfinite(weights).all() or not np.isfinite(bias).all():
        raise SparsebenchError(
            "L-BFGS did not find a head: the loss is no finite number.",
            'Take `solver = "sgd"`, or a larger weight decay.',
        )
    heads = len(recipe.seeds)
    return LinearHeads(
        np.repeat(weights[None], heads, axis=0),
        np.repeat(bias[None], heads, axis=0),
        recipe.seeds,
        np.repeat(np.array(problem.losses)[:, None], heads, axis=1),
    )


class _Problem:
    """Loss and gradient at a point: weights ``[C, D]`` and bias ``[C]``, flattened."""

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        classes: int,
        l2: float,
    ) -> None:
        self.count, width = features.shape
        rows = torch.tensor(features, dtype=torch.float32)
        self.mean = rows.mean(0, dtype=torch.float64)
        rows -= self.mean.float()
        self.scale = float(torch.linalg.vector_norm(rows, dtype=torch.float64))
        self.scale = self.scale / (self.count * width) ** 0.5 or 1.0
        rows /= self.scale
        self.rows = rows
        self.l2 = l2 / self.scale**2
        # Where each picture's own class lies in the flat scores [C, n].
        self.places = torch.tensor(labels) * self.count + torch.arange(self.count)
        self.minus_one = torch.full((self.count,), -1.0)
        self.scores = torch.empty(classes, self.count)
        self.point = torch.zeros(classes * (width + 1))
        self.point.grad = torch.zeros_like(self.point)
        split = classes * width
        self.weights, self.bias = self.point[:split].view(classes, width), self.point[split:]
        gradient = self.point.grad
        self.weights_grad = gradient[:split].view(classes, width)
        self.bias_grad = gradient[split:]
        self.losses: list[float] = []

    def evaluate(self) -> torch.Tensor:
        """The loss; leaves the gradient in ``point.grad``."""
        scores = torch.addmm(self.bias[:, None], self.weights, self.rows.t(), out=self.scores)
        norm = torch.logsumexp(scores, 0)
        loss = (norm - scores.view(-1)[self.places]).mean(dtype=torch.float64)
        loss += self.l2 / 2 * torch.linalg.vector_norm(self.weights, dtype=torch.float64) ** 2
        scores.sub_(norm).exp_()
        scores.view(-1).index_add_(0, self.places, self.minus_one)
        torch.mm(scores, self.rows, out=self.weights_grad)
        self.weights_grad.div_(self.count).add_(self.weights, alpha=self.l2)
        torch.sum(scores, 1, out=self.bias_grad).div_(self.count)
        self.losses.append(float(loss))
        return loss

    def solution(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights and bias for the features as they were given."""
        weights = self.weights.double() / self.scale
        bias = self.bias.double() - weights @ self.mean
        return weights.float().numpy(), bias.float().numpy()
