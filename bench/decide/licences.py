"""What an engine's licence allows, without importing its library.

Whether it allows production has one source: the attribute ``production`` of the engine's class
(`sparsebench.exporters.engines.base.Engine`). An engine that does not say, or is not registered
here, is not taken for production.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.records import Record
from sparsebench.exporters.worker.launch import ENGINES, engine

NOT_STATED = "not recorded"


@dataclass(frozen=True)
class EngineFacts:
    """What a deployer must know of an engine.

    Attributes:
        name: of the engine.
        licence: in a few words; empty where nobody says.
        support: whether it is maintained, in a few words; empty where nobody says.
        production: whether the licence allows production; None where the engine does not say.
        versions: that were measured.
        cells: how many cells it ran.
        warning: what must stand beside its numbers; empty for most.
    """

    name: str
    licence: str = ""
    support: str = ""
    production: bool | None = None
    versions: tuple[str, ...] = ()
    cells: int = 0
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """For a script."""
        return {
            "engine": self.name,
            "versions": list(self.versions),
            "licence": self.licence or NOT_STATED,
            "support": self.support or NOT_STATED,
            "production": self.production,
            "warning": self.warning,
            "cells": self.cells,
        }


def engine_facts(name: str, records: Sequence[Record] = (), warning: str = "") -> EngineFacts:
    """Facts of an engine.

    Args:
        name: of the engine.
        records: of any engine; what this one said of itself when it was measured comes first.
        warning: what must stand beside its numbers.
    """
    found = engine(name) if name in ENGINES else None
    mine = [record for record in records if record.engine.name == name]

    def words(key: str) -> str:
        told = (dict(record.extra.get("engine") or {}).get(key) for record in mine)
        own = str(getattr(found, key, ""))
        return "; ".join(dict.fromkeys(str(text) for text in told if text)) or own

    return EngineFacts(
        name=name,
        licence=words("licence"),
        support=words("support"),
        production=getattr(found, "production", None),
        versions=tuple(sorted({r.engine.version for r in mine if r.engine.version})),
        cells=sum(record.status == "ok" for record in mine),
        warning=warning,
    )


def weights_of(records: Sequence[Record]) -> dict[str, str]:
    """Backbone -> licence of its weights."""
    return {r.backbone.name: r.backbone.licence or NOT_STATED for r in records}
