"""The checkpoint of a training: everything that the next step depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.method import Method

VERSION = 1


@dataclass(frozen=True)
class Progress:
    """One line of what happens.

    Attributes:
        epoch: counted from 0.
        step: steps done, of ``total_steps``.
        loss: mean cross-entropy of the epoch so far.
        accuracy: share of the epoch's augmented images classified correctly so far.
        sparsity: share of prunable weights that the mask removes now.
        learning_rate: of the last step.
        epoch_done: this is the last report of its epoch.
    """

    epoch: int
    step: int
    total_steps: int
    loss: float
    accuracy: float
    sparsity: float
    learning_rate: float
    epoch_done: bool


@dataclass
class Position:
    """How far a training is.

    Attributes:
        step: steps done.
        sums: of this epoch so far: loss times images, right ones, images.
        history: the last report of each finished epoch.
    """

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    history: list[Progress] = field(default_factory=list)


def save_training(
    path: Path,
    identity: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    position: Position,
) -> None:
    """Write a checkpoint that is whole or not there, whenever the process dies.

    Args:
        path: of the file; replaced in one step.
        identity: settings that a resumed training must agree with.
        module: network as it is after ``position.step`` steps.
        optimizer: with its momentum.
        method: with its masks and whatever else it keeps.
        position: how far the training is.
    """
    state = {
        "identity": identity,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "method": method.state_dict(),
        "step": position.step,
        "sums": position.sums,
        "history": [asdict(p) for p in position.history],
    }
    temporary = path.with_name(path.name + ".part")
    torch.save(state, temporary)
    temporary.replace(path)


def load_training(
    path: Path,
    identity: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    device: str,
) -> Position:
    """Put module, optimizer and method where :func:`save_training` found them.

    Raises:
        SparsebenchError: the checkpoint is of a training with other settings, or damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        saved = state["identity"]
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        raise SparsebenchError(
            f"{path} is not a checkpoint of a training, or it is damaged.",
            "Remove it to start again (or give --no-resume).",
        ) from error
    # Older checkpoints say less.
    differing = [k for k in identity if k in saved and saved[k] != identity[k]]
    if differing:
        raise SparsebenchError(
            f"{path} belongs to another training: {', '.join(differing)} differ.",
            "Give the same settings, or remove the file to start again (or give --no-resume).",
        )
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    method.load_state_dict(state["method"])
    return Position(state["step"], state["sums"], [Progress(**p) for p in state["history"]])
