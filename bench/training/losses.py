"""The losses of an epoch, left on the device until several are fetched together.

Reading a loss waits for the step that it belongs to, and a GPU that is waited for in every step
stands still while the host orders the next one. A loss that diverged is therefore
noticed up to `every` steps late, but still named by its own step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.divergence import LossWatch
from sparsebench.bench.training.recipe import TrainRecipe

# Long enough that the wait is lost among the steps, short enough that a diverged training ends.
GPU_STEPS_BETWEEN_FETCHES = 50


def steps_between_fetches(device: str) -> int:
    """Steps whose losses are fetched together: 1 on the CPU, where there is no wait to spare."""
    return GPU_STEPS_BETWEEN_FETCHES if device.startswith("cuda") else 1


@dataclass(frozen=True)
class _Step:
    shares: Sequence[Tensor]
    images: int
    number: int
    rate: float


class LossLedger:
    """Losses of one epoch.

    Args:
        recipe: of the training.
        seed: of the training.
        epoch: its number, from 0.
        every: steps that are fetched together.
        watch: judges the losses of the whole training; by default of this epoch alone.
        group: the processes among which the images of each step are divided.
    """

    def __init__(
        self,
        recipe: TrainRecipe,
        *,
        seed: int,
        epoch: int,
        every: int = 1,
        watch: LossWatch | None = None,
        group: Group | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"losses cannot be fetched every {every} steps")
        self._epoch, self._every, self._group = epoch, every, group
        self._watch = watch or LossWatch(recipe, seed=seed)
        self._waiting: list[_Step] = []
        self._total = 0.0

    def add(self, shares: Sequence[Tensor], *, images: int, step: int, rate: float) -> None:
        """Take note of a step; nothing is fetched.

        Args:
            shares: what the pieces of the batch add to its mean loss, 0-dimensional, detached.
            images: of the batch.
            step: within the epoch, from 0.
            rate: its learning rate.
        """
        self._waiting.append(_Step(shares, images, step, rate))

    @property
    def full(self) -> bool:
        """Whether it is time to fetch."""
        return len(self._waiting) >= self._every

    def fetch(self) -> None:
        """Wait for the device, check the losses that it still has, and add them up.

        Raises:
            SparsebenchError: one diverged; says at which step and learning rate the first.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        shares = torch.stack([share for step in waiting for share in step.shares])
        if self._group is not None:
            shares = self._group.summed(shares)
        fetched = iter(shares.tolist())
        for step in waiting:
            loss = 0.0
            for _ in step.shares:
                loss += next(fetched)
            self._watch.check(loss, epoch=self._epoch, step=step.number, rate=step.rate)
            self._total += loss * step.images

    def mean(self, images: int) -> float:
        """The mean loss over the epoch's images, as far as it is fetched."""
        return self._total / images


def mean_loss(shares: Sequence[Tensor]) -> float:
    """The mean loss of one step, fetched at once."""
    return float(sum(float(share) for share in shares))
