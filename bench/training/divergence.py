"""A training whose loss left the numbers ends, and says where."""

from __future__ import annotations

import math

from bench.training.recipe import TrainRecipe
from models.errors import SparsebenchError


def check_loss(
    loss: float, recipe: TrainRecipe, *, seed: int, epoch: int, step: int, rate: float
) -> None:
    """Refuse to go on with a loss that is no finite number.

    Args:
        loss: mean of the step's batch.
        recipe: of the training, for the mend.
        seed: of the training.
        epoch: from 0.
        step: within the epoch, from 0.
        rate: learning rate of the step.

    Raises:
        SparsebenchError: it is not finite; says at which step and learning rate.
    """
    if not math.isfinite(loss):
        raise SparsebenchError(
            f"Training diverged: the loss is no finite number (seed {seed}, epoch {epoch}, "
            f"step {step}, learning rate {rate:g}).",
            f"Take a smaller learning rate than {recipe.lr:g}.",
        )
