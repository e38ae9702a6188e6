"""The optimum of the regularised convex problem, by L-BFGS on the full batch.

Minimised is ``mean cross-entropy + l2 / 2 * |weights|^2`` over weights and a free bias, with
``l2`` the recipe's weight decay: its gradient is what SGD with that weight decay follows
(save that SGD decays the bias too). scikit-learn's ``LogisticRegression`` minimises the same
function with ``C = 1 / (l2 * n)``.

The problem is solved in other coordinates: features are centred (the free bias absorbs
that) and divided by their common scale (the penalty is divided accordingly). Both leave the
optimum where it is; centring alone halves the number of steps. After a few steps the search is
preconditioned: features of a network are far from independent, so the Hessian of one class, its
weights averaged over classes (the mean of p (1 - p) of each image), is factored once and its
inverse takes the place of a multiple of the identity. On 512 features of 1,258 images that takes
15 to 59 steps where 130 to 359 were needed.

The loop is written here because `torch.optim.LBFGS` spends seconds on importing PyTorch's
compiler when it is first used, and scipy's spends as long on its own vectors in float64 as
the matrix products take.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.linear import LinearHeads, check_training_set
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.models.errors import SparsebenchError

# Pairs of steps and gradients kept: 30 needs up to a third fewer evaluations than 10.
_HISTORY = 30
# Sufficient decrease, as a share of what the slope promises; and how often a step is halved.
_ARMIJO = 1e-4
_HALVINGS = 20
# What a step gains, as a share of the loss, when float32 has no more to give.
_ROUNDING = 2**-25
# Steps before the Hessian is approximated: until then nearly all images are equally uncertain.
_STEPS_BEFORE = 6
# Evaluations that the approximation may cost; it saves about a hundred.
_WORTH = 64
Inverse = Callable[[torch.Tensor], torch.Tensor]
"""Approximates the inverse Hessian times a vector of the point's shape."""


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
    with torch.inference_mode():
        problem = _Problem(features, labels, classes, recipe.weight_decay)
        _minimise(problem, recipe.max_iterations, recipe.tolerance)
    weights, bias = problem.solution()
    if not np.isfinite(weights).all() or not np.isfinite(bias).all():
        raise SparsebenchError(
            "L-BFGS did not find a head: the loss is not finite.",
            'Take `solver = "sgd"`, or a larger weight decay.',
        )
    heads = len(recipe.seeds)
    return LinearHeads(
        np.repeat(weights[None], heads, axis=0),
        np.repeat(bias[None], heads, axis=0),
        recipe.seeds,
        np.repeat(np.array(problem.losses)[:, None], heads, axis=1),
    )


def _minimise(problem: _Problem, iterations: int, tolerance: float) -> None:
    """L-BFGS with a backtracking line search; moves ``problem.point`` to the optimum.

    The function is convex, so sufficient decrease alone keeps every curvature positive. The
    end is reached when the largest gradient is within tolerance, or when a step gains no more
    than float32 rounds.
    """
    point, gradient = problem.point, problem.gradient
    pairs: deque[tuple[torch.Tensor, torch.Tensor, float]] = deque(maxlen=_HISTORY)
    inverse: Inverse | None = None
    loss = problem.evaluate()
    for taken in range(iterations):
        problem.losses.append(loss)
        if not math.isfinite(loss) or float(gradient.abs().max()) <= tolerance:
            return
        if taken == _STEPS_BEFORE:
            inverse = problem.inverse()
            if inverse:
                pairs.clear()  # they tell of the identity's errors
        direction = _direction(gradient, pairs, inverse)
        slope = float(direction @ gradient)
        before, gradient_before = point.clone(), gradient.clone()
        # Nothing is known of the scale yet at the first step, so it is a careful one.
        step = 1.0 if pairs or inverse else min(1.0, 1 / float(gradient.abs().sum()))
        for _ in range(_HALVINGS):
            torch.add(before, direction, alpha=step, out=point)
            found = problem.evaluate()
            if found <= loss + _ARMIJO * step * slope:
                break
            step /= 2
        else:
            point.copy_(before)
            return
        moved, bent = point - before, gradient - gradient_before
        curvature = float(moved @ bent)
        if curvature > 0:
            pairs.append((moved, bent, curvature))
        if loss - found <= _ROUNDING * abs(loss):
            loss = found
            break
        loss = found
    problem.losses.append(loss)


def _direction(
    gradient: torch.Tensor,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor, float]],
    inverse: Inverse | None,
) -> torch.Tensor:
    """Minus the gradient times the approximate inverse Hessian (the two-loop recursion).

    Source: Nocedal and Wright, Numerical Optimization, algorithm 7.4; ``inverse`` is its H0.
    """
    direction = -gradient
    shares = []
    for moved, bent, curvature in reversed(pairs):
        share = float(moved @ direction) / curvature
        direction.add_(bent, alpha=-share)
        shares.append(share)
    if inverse:
        direction = inverse(direction)
    elif pairs:
        _, bent, curvature = pairs[-1]
        direction.mul_(curvature / float(bent @ bent))
    for (moved, bent, curvature), share in zip(pairs, reversed(shares), strict=True):
        direction.add_(moved, alpha=share - float(bent @ direction) / curvature)
    return direction


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
        # Where each image's own class lies in the flat scores [C, n].
        self.places = torch.tensor(labels) * self.count + torch.arange(self.count)
        self.minus_one = torch.full((self.count,), -1.0)
        self.scores = torch.empty(classes, self.count)
        self.point = torch.zeros(classes * (width + 1))
        self.gradient = torch.zeros_like(self.point)
        split = classes * width
        self.weights, self.bias = self.point[:split].view(classes, width), self.point[split:]
        self.weights_grad = self.gradient[:split].view(classes, width)
        self.bias_grad = self.gradient[split:]
        self.losses: list[float] = []

    def evaluate(self) -> float:
        """The loss at ``point``; leaves its gradient in ``gradient``."""
        scores = torch.addmm(self.bias[:, None], self.weights, self.rows.t(), out=self.scores)
        norm = torch.logsumexp(scores, 0)
        loss = (norm - scores.view(-1)[self.places]).mean(dtype=torch.float64)
        loss += self.l2 / 2 * torch.linalg.vector_norm(self.weights, dtype=torch.float64) ** 2
        scores.sub_(norm).exp_()
        scores.view(-1).index_add_(0, self.places, self.minus_one)
        torch.mm(scores, self.rows, out=self.weights_grad)
        self.weights_grad.div_(self.count).add_(self.weights, alpha=self.l2)
        torch.sum(scores, 1, out=self.bias_grad).div_(self.count)
        return float(loss)

    def inverse(self) -> Inverse | None:
        """Of the Hessian near the point last evaluated, all classes alike; None if it costs more.

        The Hessian's part of class c is ``X^T diag(p_c (1 - p_c)) X / n + l2``.
        """
        classes, width = self.weights.shape
        evaluation = 4 * self.count * width * classes
        if width**2 * (2 * self.count + width / 3) > _WORTH * evaluation:
            return None
        error = self.scores.abs()  # p, and 1 - p of an image's own class
        shares = (error * (1 - error)).mean(0).clamp_(min=1e-6)
        weighed = self.rows * shares.sqrt()[:, None]
        hessian = torch.mm(weighed.t(), weighed).div_(self.count)
        hessian.diagonal().add_(self.l2 + 1e-6 * float(hessian.diagonal().mean()))
        factor, failed = torch.linalg.cholesky_ex(hessian)
        if int(failed):
            return None
        of_bias = float(shares.mean())

        def apply(vector: torch.Tensor) -> torch.Tensor:
            found = vector / of_bias
            split = self.weights.numel()
            weights = vector[:split].view(classes, width)
            found[:split].view(classes, width).t().copy_(torch.cholesky_solve(weights.t(), factor))
            return found

        return apply

    def solution(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights and bias for the features as they were given."""
        weights = self.weights.double() / self.scale
        bias = self.bias.double() - weights @ self.mean
        return weights.float().numpy(), bias.float().numpy()
