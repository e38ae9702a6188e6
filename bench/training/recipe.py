"""How step-by-step training goes: the paper's recipe, and a short one.

Source of ``paper``: "How Well Do Sparse ImageNet Models Transfer?" (CVPR 2022), its released
training script. ``short`` is a usual modern recipe for machines with two cores: a warm-up and a
cosine over few epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparsebench.bench.heads.linear_recipe import PAPER_EPOCHS, PAPER_MILESTONES
from sparsebench.bench.plan.settings import RECIPES, TrainingSettings
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.tasks.known_tasks import facts_of
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError, UnknownNameError

if TYPE_CHECKING:
    from sparsebench.bench.plan.cells import Cell
    from sparsebench.bench.plan.plan import Plan

SHORT_EPOCHS = 5
WARMUP_SHARE = 0.1

# Full fine-tuning of a data set that the paper does not have, as of most that it has.
_PAPER_FULL_RATE = 0.001
_PAPER_LINEAR_RATE = 0.01
_SHORT_FULL_RATE = 0.02
_SHORT_LINEAR_RATE = 0.1


@dataclass(frozen=True)
class TrainRecipe:
    """Settings of stochastic gradient descent with momentum, step by step.

    Attributes:
        name: ``paper`` or ``short``.
        epochs: passes over the training images.
        lr: the largest learning rate.
        batch_size: images a step; the last batch of an epoch may be smaller.
        momentum: without dampening.
        nesterov: momentum looks ahead.
        weight_decay: added to the gradient, of every parameter, as ``weight_decay * w``.
    """

    name: str
    epochs: int
    lr: float
    batch_size: int = 64
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4

    def rate(self, epoch: int, share: float = 0.0) -> float:
        """The learning rate in an epoch (from 0), `share` (0-1) of it done.

        ``paper``: constant within an epoch; a tenth after epoch 50 and again after 100 of
        150, one epoch later than usual, as its script does; in proportion for other lengths.
        ``short``: linear warm-up over a tenth of the training, then half a cosine to zero.
        """
        if self.name == "paper":
            steps = (round(m * self.epochs / PAPER_EPOCHS) for m in PAPER_MILESTONES)
            return self.lr * 0.1 ** sum(epoch >= step for step in steps)
        done = (epoch + share) / self.epochs
        if done < WARMUP_SHARE:
            # From a tenth, so that the very first step moves something.
            return self.lr * (0.1 + 0.9 * done / WARMUP_SHARE)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


def training_recipe(
    name: str, workload: str, task: str, *, epochs: int = 0, lr: float = 0.0, batch_size: int = 64
) -> TrainRecipe:
    """The recipe of a workload on a task.

    Args:
        name: ``paper`` or ``short``.
        workload: ``full`` or ``linear-online``.
        task: as the plan names it; the paper's rate of full training depends on it. A folder
            is named by its path, whatever its last part is called.
        epochs: instead of the recipe's; 0 for its own (paper 150, short 5).
        lr: instead of the recipe's; 0 for its own.
        batch_size: images a step; the paper's are 64.

    Raises:
        UnknownNameError: no such recipe.
        SparsebenchError: epochs or learning rate below 0.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    if epochs < 0 or not lr >= 0 or not math.isfinite(lr):
        raise SparsebenchError(f"A recipe of {epochs} epochs at the rate {lr} makes no sense.")
    full = workload_of(workload).trains_backbone
    if name == "paper":
        facts = facts_of(task)
        own = facts.full_learning_rate if facts else _PAPER_FULL_RATE
        own = own if full else _PAPER_LINEAR_RATE
        return TrainRecipe(name, epochs or PAPER_EPOCHS, lr or own, batch_size)
    own = _SHORT_FULL_RATE if full else _SHORT_LINEAR_RATE
    return TrainRecipe(name, epochs or SHORT_EPOCHS, lr or own, batch_size, nesterov=full)


def recipe_of(plan: Plan, cell: Cell) -> TrainRecipe:
    """The recipe that a cell trains with, which its forecast and its record name too.

    Args:
        plan: the resolved plan.
        cell: of ``full`` or ``linear-online``.

    Raises:
        UnknownNameError: no such recipe.
        SparsebenchError: epochs or learning rate below 0.
    """
    own = plan.section(cell.workload, TrainingSettings)
    return training_recipe(
        own.recipe,
        cell.workload,
        cell.task,
        epochs=own.epochs,
        lr=own.lr,
        batch_size=cell.batch_size,
    )


def training_preprocessing(
    preprocessing: Preprocessing, recipe: TrainRecipe, task: str
) -> Preprocessing:
    """What the images of step-by-step training go through.

    The paper's script normalises with the data set's own mean and standard deviation when it
    augments; every other task and recipe keeps the backbone's.

    Args:
        preprocessing: of the backbone.
        recipe: of the training.
        task: as the plan names it, see :func:`training_recipe`.
    """
    facts = facts_of(task)
    if recipe.name != "paper" or facts is None or facts.mean is None or facts.std is None:
        return preprocessing
    return replace(preprocessing, mean=facts.mean, std=facts.std)
