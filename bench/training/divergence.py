"""A training whose loss left the numbers, or is far above guessing and stays there, is refused.

A loss that shoots up and comes back is no divergence: large learning rates begin like that. So a
finite loss counts only if it stays for many steps above any that a network starts from, or is
there when the training ends.
"""

from __future__ import annotations

import math
from statistics import median

from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.models.errors import SparsebenchError

# Times the first loss, or that of guessing, whichever is larger.
FAR_ABOVE = 10.0
# In a row, across epochs: a large first rate takes dozens to settle.
STEPS_ABOVE = 100

_Place = tuple[int, int, float]


class LossWatch:
    """The losses of one training, in the order of its steps.

    Args:
        recipe: of the training.
        seed: of the training.
        classes: of the task; guessing has a cross-entropy of ``ln(classes)``.
    """

    def __init__(self, recipe: TrainRecipe, *, seed: int, classes: int = 2) -> None:
        self._recipe, self._seed = recipe, seed
        self._guessing = math.log(classes)
        self._first: float | None = None
        self._epoch: list[float] = []
        self._last: _Place = (0, 0, 0.0)
        self._since: _Place | None = None
        self._above = 0

    def check(self, loss: float, *, epoch: int, step: int, rate: float) -> None:
        """Refuse to go on with a loss that diverged.

        Args:
            loss: mean of the step's batch, before its update, nats.
            epoch: from 0.
            step: within the epoch, from 0.
            rate: learning rate of the step.

        Raises:
            SparsebenchError: it is not finite, or has been far above guessing for
                :data:`STEPS_ABOVE` steps; says since which step, at which learning rate.
        """
        self._last = (epoch, step, rate)
        if not math.isfinite(loss):
            raise self._diverged("the loss is not finite", self._last)
        if self._first is None:
            self._first = loss
        self._epoch.append(loss)
        if loss <= self._limit:
            self._above, self._since = 0, None
            return
        self._above, self._since = self._above + 1, self._since or self._last
        if self._above >= STEPS_ABOVE:
            raise self._far_above(self._epoch[-1], self._since)

    def end_epoch(self, epoch: int) -> None:
        """The epoch has no more losses; after the last one the training must not be far off.

        Args:
            epoch: from 0.

        Raises:
            SparsebenchError: the last epoch's losses are far above guessing; says since which
                step, at which learning rate.
        """
        losses, self._epoch = self._epoch, []
        if losses and epoch == self._recipe.epochs - 1 and median(losses) > self._limit:
            raise self._far_above(median(losses), self._since or self._last)

    @property
    def _limit(self) -> float:
        return FAR_ABOVE * max(self._first or 0.0, self._guessing)

    def _far_above(self, loss: float, place: _Place) -> SparsebenchError:
        usual = self._limit / FAR_ABOVE
        return self._diverged(f"the loss stays at {loss:.3g} or so, far above {usual:.3g}", place)

    def _diverged(self, why: str, place: _Place) -> SparsebenchError:
        epoch, step, rate = place
        return SparsebenchError(
            f"Training diverged: {why} (seed {self._seed}, epoch {epoch}, step {step}, "
            f"learning rate {rate:g}).",
            f"Take a smaller learning rate than {self._recipe.lr:g}.",
        )
