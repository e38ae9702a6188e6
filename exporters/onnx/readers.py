"""The engines that a network's file is for, and what they need of it.

One file serves all engines of a comparison, so that they are compared on one graph.
:func:`sparsebench.exporters.worker.readers.readers_of` knows the engines by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Refusal = Callable[[str, tuple[int, int, int]], str]


@dataclass(frozen=True)
class Readers:
    """What some engines need of a file.

    Attributes:
        opset: the newest that all of them execute well; None where any is.
        limited_by: the engine with that opset.
        refusals: of the engines that can say without compiling it why they cannot read a file
            (path and ``(3, H, W)``), or nothing; by name.
    """

    opset: int | None = None
    limited_by: str = ""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)

    @classmethod
    def of(cls, engines: Mapping[str, Any]) -> Readers:
        """What engines say of themselves (:class:`sparsebench.exporters.engines.base.Engine`).

        Args:
            engines: classes by name.
        """
        limits = {name: getattr(kind, "opset", None) for name, kind in engines.items()}
        known = {name: int(limit) for name, limit in limits.items() if limit}
        oldest = min(known, key=lambda name: known[name], default="")
        able = {name: kind for name, kind in engines.items() if hasattr(kind, "refusal")}
        return cls(known.get(oldest), oldest, {name: kind().refusal for name, kind in able.items()})

    @property
    def key(self) -> str:
        """Part of the key of a file that was written for them."""
        return f"{self.opset or 'any opset'}, read by {', '.join(self.refusals) or 'any'}"

    def refusal(self, path: Path, input_shape: tuple[int, int, int]) -> str:
        """Why one of them cannot read a file, or nothing."""
        for name, ask in self.refusals.items():
            said = ask(str(path), input_shape)
            if said:
                return f"{name} cannot read it: {said}"
        return ""


ANY = Readers()
"""No engine is named: the newer exporter's file, unless it is wrong."""
