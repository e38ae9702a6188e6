"""The engines behind a report's numbers: what their licences allow, and who still mends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.present.report.runs import RunFacts
from sparsebench.bench.present.tables.wording import DEEPSPARSE, DEEPSPARSE_WARNING
from sparsebench.bench.records import Record

NOT_RECORDED = "not recorded"
NOT_PRODUCTION = "not production"


@dataclass(frozen=True)
class EngineFacts:
    """One engine.

    Args:
        name: of the engine.
        versions: that were measured.
        licence: what it allows, in the engine's own words.
        support: whether it is maintained.
        warning: what must stand beside its numbers; empty for most.
        cells: how many cells it ran.
        production: whether the licence allows production.
    """

    name: str
    versions: tuple[str, ...]
    licence: str
    support: str
    warning: str
    cells: int
    production: bool

    def to_json(self) -> dict[str, Any]:
        """For a script."""
        return {
            "engine": self.name,
            "versions": list(self.versions),
            "licence": self.licence,
            "support": self.support,
            "production": self.production,
            "warning": self.warning,
            "cells": self.cells,
        }


def engines_of(runs: Sequence[RunFacts]) -> list[EngineFacts]:
    """All engines of the runs, by name."""
    records = [record for run in runs for record in run.records]
    names = sorted({record.engine.name for record in records})
    return [_engine(name, [r for r in records if r.engine.name == name]) for name in names]


def for_production(record: Record) -> bool:
    """Whether the licence of the record's engine allows production, by its own words."""
    return record.engine.name != DEEPSPARSE and NOT_PRODUCTION not in _told(record, "licence")


def _engine(name: str, records: Sequence[Record]) -> EngineFacts:
    def words(key: str) -> str:
        told = dict.fromkeys(_told(record, key) for record in records)
        return "; ".join(text for text in told if text) or NOT_RECORDED

    return EngineFacts(
        name=name,
        versions=tuple(sorted({r.engine.version for r in records if r.engine.version})),
        licence=words("licence"),
        support=words("support"),
        warning=DEEPSPARSE_WARNING if name == DEEPSPARSE else "",
        cells=sum(record.status == "ok" for record in records),
        production=all(for_production(record) for record in records),
    )


def _told(record: Record, key: str) -> str:
    """What the engine said of itself when it was measured (`Availability`)."""
    engine = record.extra.get("engine")
    return str(engine.get(key) or "") if isinstance(engine, dict) else ""


def weights_of(runs: Sequence[RunFacts]) -> dict[str, str]:
    """Backbone -> licence of its weights."""
    return {
        record.backbone.name: record.backbone.licence or NOT_RECORDED
        for run in runs
        for record in run.records
    }
