"""Walks through what a checkpoint holds: its mappings with tensors, by their dotted names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsebench.models.errors import SparsebenchError

DEEPEST = 5
TRAINING = {
    "amp", "optim", "optimizer", "optimizers", "optimizer_state_dict", "rng", "scaler", "sched",
    "scheduler", "schedulers",
}  # fmt: skip
"""Words in the names of what a training keeps for itself."""
_MOST_CONTAINERS = 100_000
_SHOWN = 6


def words_of(name: str) -> set[str]:
    """A name's words: ``model_ema.state`` -> model, ema, state."""
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def refuse_tangle(path: Path, payload: Any) -> None:
    """Refuse containers that hold each other so often that no walk through them ends."""
    waiting, met = [(payload, 0)] if isinstance(payload, Mapping | list | tuple) else [], 0
    while waiting:
        holder, depth = waiting.pop()
        met += 1
        if met > _MOST_CONTAINERS:
            raise SparsebenchError(
                f"'{path}' holds more than {_MOST_CONTAINERS:,} containers, or some that hold "
                "each other.",
                "Save a state dict alone, with torch.save(model.state_dict(), FILE).",
            )
        if depth <= DEEPEST:
            inner = holder.values() if isinstance(holder, Mapping) else holder
            waiting += [(v, depth + 1) for v in inner if isinstance(v, Mapping | list | tuple)]


def entries_of(payload: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every mapping with tensors of its own, by its dotted name; "" is the file itself."""
    if not isinstance(payload, Mapping) or depth > DEEPEST:
        return
    if any(isinstance(value, Tensor) for value in payload.values()):
        yield name, payload
    for key, value in payload.items():
        if isinstance(key, str) and not words_of(key) & TRAINING:
            yield from entries_of(value, f"{name}.{key}" if name else key, depth + 1)


def holds_tensors(value: Any, depth: int = 0) -> bool:
    """Whether there is a tensor in a value, at any depth; of a long list the start is looked at."""
    if isinstance(value, Tensor):
        return True
    if depth > DEEPEST or not isinstance(value, Mapping | list | tuple):
        return False
    inner = list(value.values()) if isinstance(value, Mapping) else list(value)
    return any(holds_tensors(one, depth + 1) for one in inner[:64])


def listed(names: Any) -> str:
    """The first of some names, for messages."""
    every = [str(name) for name in names]
    return ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")
