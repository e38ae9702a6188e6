"""What a plan says of a workload in that workload's own section: ``[full]``, ``[inference]``, ...

A workload declares its settings as a frozen dataclass that derives from :class:`Settings`; its
fields are the section's keys, its defaults are the section's. Imported by the command line at
start: standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sparsebench.models.errors import SparsebenchError, UnknownNameError

SOLVERS = ("sgd", "lbfgs")
RECIPES = ("paper", "short")
NORMS = ("global", "local")
"""Whose statistics a batch norm takes in a training in several processes."""


@dataclass(frozen=True)
class Settings:
    """No settings at all: what a workload has that declares none.

    Attributes:
        flat: key of a plan before it had sections -> field, for those settings that have one.
    """

    flat: ClassVar[Mapping[str, str]] = {}

    def check(self) -> None:
        """Check every value that can be checked without loading anything.

        Raises:
            SparsebenchError: a value out of range.
        """


@dataclass(frozen=True)
class HeadSettings(Settings):
    """Linear heads on features that are extracted once.

    Attributes:
        solver: ``sgd`` (the paper's recipe) or ``lbfgs``.
        epochs: under ``sgd``.
        weight_decays: values to try, all at once, on a validation split of
            the training images; the best one trains the heads. Empty for the paper's 0.0005.
        validation: share of the training images (0 to below 1) of that split.
        detection_epochs: passes over the training images for the head of a detection task, which
            the settings above do not concern.
    """

    flat: ClassVar[Mapping[str, str]] = {
        name: name for name in ("solver", "epochs", "weight_decays", "validation")
    }
    solver: str = "sgd"
    epochs: int = 150
    weight_decays: tuple[float, ...] = ()
    validation: float = 0.1
    detection_epochs: int = 15

    def check(self) -> None:
        """As :meth:`Settings.check`."""
        at_least("detection_epochs", self.detection_epochs, 1)
        one_of("solver", self.solver, SOLVERS)
        at_least("epochs", self.epochs, 1)
        for value in self.weight_decays:
            if isinstance(value, bool) or not isinstance(value, int | float) or not finite(value):
                raise SparsebenchError(f"'weight_decays' must be numbers from 0, not {value!r}.")
        share("validation", self.validation)


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """Training step by step.

    Attributes:
        recipe: ``paper`` or ``short``.
        epochs: 0 stands for the recipe's own (paper 150, short 5).
        lr: the largest learning rate; 0 stands for the recipe's own.
        validation: share of the training images (0 to below 1) that is held out to choose the
            best epoch and the target.
        target_margin: points below the dense baseline's validation accuracy that count as target.
    """

    flat: ClassVar[Mapping[str, str]] = {
        "recipe": "recipe",
        "train_epochs": "epochs",
        "lr": "lr",
        "validation": "validation",
        "target_margin": "target_margin",
    }
    recipe: str = "paper"
    epochs: int = 0
    lr: float = 0.0
    validation: float = 0.1
    target_margin: float = 1.0

    def check(self) -> None:
        """As :meth:`Settings.check`."""
        one_of("recipe", self.recipe, RECIPES)
        for name in ("epochs", "lr", "target_margin"):
            at_least(name, getattr(self, name), 0)
        share("validation", self.validation)


def one_of(kind: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise :class:`UnknownNameError` unless the value is one of the choices."""
    if value not in choices:
        raise UnknownNameError(kind, value, choices)


def at_least(name: str, value: float, least: float) -> None:
    """Raise :class:`SparsebenchError` unless the value is finite and so large."""
    if not least <= value < math.inf:
        raise SparsebenchError(f"'{name}' must be {least} or more, and finite, not {value}.")


def share(name: str, value: float) -> None:
    """Raise :class:`SparsebenchError` unless the value lies in 0 to below 1."""
    at_least(name, value, 0)
    if value >= 1:
        raise SparsebenchError(f"'{name}' must be below 1, not {value}.")


def finite(value: float) -> bool:
    """Whether a number is 0 or more, and finite."""
    return 0 <= value < math.inf
