"""What every way to run SGD on heads begins with, and how a divergence is told."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.models.errors import SparsebenchError


@dataclass(frozen=True, eq=False)
class Problem:
    """What heads are trained on, and how.

    Attributes:
        features: ``[n, D]``, float32.
        labels: ``[n]``, ``0 .. classes - 1``.
        classes: C.
        recipe: settings; its seeds give the heads.
        weight_decays: instead of one head a seed, one for each of these, all with the first
            seed.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int
    recipe: LinearRecipe
    weight_decays: Sequence[float] | None = None


class Training(ABC):
    """Heads in training.

    Attributes:
        name: what runs the steps.
        recipe: settings.
        count: images n.
        width: features D.
        classes: C.
        decays: weight decay of each head.
        seeds: one a head; with several weight decays the same for all.
    """

    name: str

    def __init__(self, problem: Problem) -> None:
        recipe = self.recipe = problem.recipe
        self.count, self.width = problem.features.shape
        self.classes = problem.classes
        self.seeds = recipe.seeds
        self.decays = torch.full((len(self.seeds),), recipe.weight_decay)
        if problem.weight_decays is not None:
            self.seeds = recipe.seeds[:1] * len(problem.weight_decays)
            self.decays = torch.tensor(problem.weight_decays, dtype=torch.float32)
        self.labels = torch.tensor(problem.labels, dtype=torch.int64)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    @abstractmethod
    def run(self, first: int, rates: Sequence[float]) -> NDArray[np.float64]:
        """Train for some epochs.

        Args:
            first: number of the first of them.
            rates: learning rate of each.

        Returns:
            Mean training losses ``[epochs, S]``, nats.

        Raises:
            SparsebenchError: a loss is not a number any more.
        """

    @abstractmethod
    def heads(self, losses: NDArray[np.float64]) -> LinearHeads:
        """The heads as they are now; shares memory."""

    @property
    def epochs_at_once(self) -> int:
        """How many epochs one call of :meth:`run` should be given."""
        return 1

    def _orders(self, epochs: int) -> torch.Tensor:
        """The order of images in the next epochs, ``[epochs, S, n]``."""
        orders = torch.empty(epochs, len(self.seeds), self.count, dtype=torch.int64)
        for row, generator in zip(
            orders.flatten(0, 1).unbind(0), self._generators * epochs, strict=True
        ):
            torch.randperm(self.count, generator=generator, out=row)
        return orders

    def _initial(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights ``[S, C, D]`` and bias ``[S, C]`` as ``torch.nn.Linear`` would draw them."""
        weights = torch.empty(len(self.seeds), self.classes, self.width)
        bias = torch.empty(len(self.seeds), self.classes)
        bound = 1 / math.sqrt(self.width)
        for weight, row, generator in zip(weights, bias, self._generators, strict=True):
            torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            torch.nn.init.uniform_(row, -bound, bound, generator=generator)
        return weights, bias

    def diverged(self, head: int, epoch: int, step: int) -> SparsebenchError:
        """The error that names where a head's loss was no finite number any more."""
        recipe = self.recipe
        return SparsebenchError(
            "Training the head diverged: the loss is not finite "
            f"(seed {self.seeds[head]}, epoch {epoch}, step {step}, "
            f"learning rate {recipe.rates()[epoch]:g}).",
            f"Take a smaller learning rate than {recipe.lr:g}.",
        )
