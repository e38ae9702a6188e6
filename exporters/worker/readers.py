"""What the engines of these names need of a network's file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sparsebench.exporters.onnx.readers import Readers
from sparsebench.exporters.worker.launch import ENGINES


def readers_of(engines: Iterable[str]) -> Readers:
    """The needs of all of them; one that does not import has none: its cells say why."""
    found = {name: _kind(name) for name in sorted(set(engines))}
    return Readers.of({name: kind for name, kind in found.items() if kind is not None})


def _kind(name: str) -> Any:
    try:
        return ENGINES.load(name)
    except Exception:  # it comes from elsewhere
        return None
