"""How a linear head is trained; the defaults are the paper's recipe.

Source: "How Well Do Sparse ImageNet Models Transfer?", its script for cached features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sparsebench.models.errors import SparsebenchError, UnknownNameError

PAPER_SEEDS = (21, 51, 81, 111, 141)
PAPER_EPOCHS = 150
# The paper's script steps its schedule one epoch later than usual: the rate is 0.01 for 51
# epochs (0-50), 0.001 for 50 (51-100) and 0.0001 for 49 (101-149).
PAPER_MILESTONES = (51, 101)
SOLVERS = ("sgd", "lbfgs")


@dataclass(frozen=True)
class LinearRecipe:
    """Settings of head training.

    Attributes:
        epochs: passes over the training images (``sgd``).
        batch_size: images a step (``sgd``); the last batch of an epoch may be smaller.
        lr: learning rate of the first epochs (``sgd``).
        momentum: of SGD, without dampening or Nesterov (``sgd``).
        weight_decay: added to the gradient of weights and bias as ``weight_decay * w``
            (``sgd``). ``lbfgs`` adds ``weight_decay / 2 * |weights|^2`` to the loss, whose
            gradient is the same; it leaves the bias free, as scikit-learn does.
        milestones: epochs (from 0) that begin with the rate times `gamma`; None for the
            paper's, in proportion when there are fewer or more than 150 epochs.
        gamma: see `milestones`.
        seeds: of initial weights and of the order of images; one head each (``sgd``).
        solver: ``sgd`` or ``lbfgs`` (the optimum; seeds do not matter to it).
        max_iterations: most steps of ``lbfgs``.
        tolerance: ``lbfgs`` stops at this largest gradient, in units of scaled features.

    Raises:
        SparsebenchError: a value that makes no sense, with the values that do.
    """

    epochs: int = PAPER_EPOCHS
    batch_size: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] | None = None
    gamma: float = 0.1
    seeds: tuple[int, ...] = PAPER_SEEDS
    solver: str = "sgd"
    max_iterations: int = 500
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UnknownNameError("solver", str(self.solver), SOLVERS)
        for name in ("epochs", "batch_size", "max_iterations"):
            value = getattr(self, name)
            _need(_whole(value) and value >= 1, name, value, "a whole number from 1")
        _need(_number(self.lr) and self.lr > 0, "lr", self.lr, "a number above 0")
        good = _number(self.momentum) and 0 <= self.momentum < 1
        _need(good, "momentum", self.momentum, "a number from 0 to below 1")
        for name in ("weight_decay", "gamma", "tolerance"):
            value = getattr(self, name)
            _need(_number(value) and value >= 0, name, value, "a number from 0")
        good = len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds)
        good = good and all(_whole(seed) and 0 <= seed < 2**63 for seed in self.seeds)
        _need(good, "seeds", self.seeds, "different whole numbers from 0")
        if self.milestones is not None:
            good = all(_whole(epoch) and epoch >= 1 for epoch in self.milestones)
            good = good and list(self.milestones) == sorted(set(self.milestones))
            _need(good, "milestones", self.milestones, "rising epochs from 1")

    def rates(self) -> list[float]:
        """The learning rate of every epoch."""
        milestones = self.milestones
        if milestones is None:
            milestones = tuple(round(m * self.epochs / PAPER_EPOCHS) for m in PAPER_MILESTONES)
        return [
            self.lr * self.gamma ** sum(epoch >= milestone for milestone in milestones)
            for epoch in range(self.epochs)
        ]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _need(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise SparsebenchError(f"The head recipe has {name} = {value!r}.", f"Give {wanted}.")
