"""The checkpoint of a training: everything that the next step depends on."""

from __future__ import annotations

import copy
import logging
import math
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.method import Method

VERSION = 1
log = logging.getLogger("sparsebench")
# A damaged file can make torch's reader, a loader or a method fail in any way.
_DAMAGE = (Exception,)


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
    try:
        torch.save(state, temporary)
        if path.exists():
            path.replace(_before(path))
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        temporary.unlink(missing_ok=True)
        raise SparsebenchError(
            f"The checkpoint {path} cannot be written: {error}.",
            "Free some space or choose another --out; the training goes on from the last one.",
        ) from error


def load_training(
    path: Path,
    identity: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    device: str,
    total_steps: int,
) -> Position | None:
    """Put module, optimizer and method where :func:`save_training` found them.

    A damaged checkpoint is passed over, with a warning, for the one that was written before it;
    where that is damaged too or not there, everything stays as it is and None is returned.

    Raises:
        SparsebenchError: the checkpoint is of a training with other settings.
    """
    found = [one for one in (path, _before(path)) if one.exists()]
    for one in found:
        try:
            state = _read(one, device, total_steps)
        except _DAMAGE as error:
            log.warning("the checkpoint %s is damaged (%s); it is passed over", one, _cause(error))
            continue
        # Older checkpoints say less.
        saved = state["identity"]
        differing = [k for k in identity if k in saved and saved[k] != identity[k]]
        if differing:
            raise SparsebenchError(
                f"{one} belongs to another training: {', '.join(differing)} differ.",
                "Give the same settings, or remove the file to start again (or give --no-resume).",
            )
        parts: tuple[Any, ...] = (module, optimizer, method)
        before = copy.deepcopy([part.state_dict() for part in parts])
        try:
            for part, key in zip(parts, ("module", "optimizer", "method"), strict=True):
                part.load_state_dict(state[key])
            if one is not path:
                log.warning("the training goes on from %s, at step %d", one, state["step"])
            return Position(state["step"], state["sums"], state["history"])
        except _DAMAGE as error:
            for part, kept in zip(parts, before, strict=True):
                part.load_state_dict(kept)
            log.warning("the checkpoint %s does not fit (%s)", one, _cause(error))
    if found:
        log.warning("no checkpoint of %s can be used: the training starts again", path)
    return None


def remove_training(path: Path) -> None:
    """Remove a training's checkpoints."""
    for one in (path, _before(path), path.with_name(path.name + ".part")):
        one.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    """Where the checkpoint before the last one lies."""
    return path.with_name(path.name + ".before")


def _read(path: Path, device: str, total_steps: int) -> dict[str, Any]:
    """A checkpoint whose parts are of their types; nothing of it is run."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch does not compare the checksums that it wrote.
            if (broken := archive.testzip()) is not None:
                raise ValueError(f"its part {broken} does not fit its checksum")
    state = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(state, dict) or not all(
        isinstance(state[key], dict) for key in ("identity", "module", "optimizer", "method")
    ):
        raise ValueError("it is not a checkpoint of a training")
    step, sums = state["step"], [float(one) for one in state["sums"]]
    if type(step) is not int or not 0 <= step <= total_steps:
        raise ValueError(f"it stands at step {step} of {total_steps}")
    if len(sums) != 3 or not all(map(math.isfinite, sums)):
        raise ValueError("its sums are no three numbers")
    history = [Progress(**one) for one in state["history"]]
    if not all(math.isfinite(one.loss) and type(one.total_steps) is int for one in history):
        raise ValueError("its history is none")
    return {**state, "sums": sums, "history": history}


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0][:200]}" if lines else type(error).__name__
