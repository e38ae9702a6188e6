"""A baseline file: what a run must not fall behind, why it was accepted, limits by cell.

TOML, made to be read and edited by hand: a limit that a cell needs is one line in it, and
`sparsebench baseline update` keeps such lines. It holds ratios and accuracies, no times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sparsebench.bench.records.plain import plain
from sparsebench.bench.records.schema import validate
from sparsebench.bench.statistics import RatioEstimate
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.toml_file import read_toml

SCHEMA = "baseline.v1"
_COMMENT = (
    "# A baseline of `sparsebench check RUN --baseline FILE`; `sparsebench baseline update` writes"
    "\n# it. Limits of a cell (`[cells.limits]`): effect, max_accuracy_loss, min_ratio,"
    "\n# min_ratio_to, min_accuracy.\n"
)


@dataclass(frozen=True)
class Limits:
    """Limits of one cell that differ from the command line's.

    Args:
        effect: smallest relative change of the ratio that counts, fraction.
        max_accuracy_loss: percentage points against the baseline.
        min_ratio: the whole interval of the ratio may not lie below this, on any machine.
        min_ratio_to: another engine -> the same of the ratio to it: the same backbone's time on
            that engine, in this precision, over this cell's.
        min_accuracy: fraction 0-1, on any machine.

    Raises:
        SparsebenchError: one is NaN, which every comparison would pass.
    """

    effect: float | None = None
    max_accuracy_loss: float | None = None
    min_ratio: float | None = None
    min_ratio_to: Mapping[str, float] | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            numbers = value.values() if isinstance(value, Mapping) else (value,)
            if any(one is not None and math.isnan(one) for one in numbers):
                raise SparsebenchError(
                    f"The limit '{name}' of a baseline's cell is not a number.",
                    "Write one, or leave the line out.",
                )


@dataclass(frozen=True)
class BaselineCell:
    """One cell of a baseline.

    Args:
        key: what identifies the cell (`sparsebench.bench.comparisons.gated_ratios.KEY`).
        kind: "speedup" (dense baseline's time over this one's) or "engines" (geometric mean of
            the dense times on other engines over this one's).
        against: the dense baseline, or the other engines.
        ratio: as measured.
        accuracy_per_seed: fractions 0-1.
        seeds: of the accuracies.
        trained: False for generated weights, whose accuracy means nothing.
        must_match: further keys that a run must share.
        facts: what may explain a change: versions, hashes, stages.
        limits: of this cell.
    """

    key: Mapping[str, Any]
    kind: str
    against: tuple[str, ...]
    ratio: RatioEstimate
    accuracy_per_seed: tuple[float, ...]
    seeds: tuple[int, ...] | None
    trained: bool
    must_match: Mapping[str, Any]
    facts: Mapping[str, Any]
    limits: Limits = Limits()


@dataclass(frozen=True)
class Baseline:
    """All of a baseline file.

    Args:
        created: ISO 8601, UTC.
        reason: why these numbers were accepted.
        run: name of the run that they are from.
        machine: its facts with their fingerprint.
        cells: what must not get worse.
        history: earlier reasons, oldest first: created, reason, run.
        busy: how busy the machine was when they were measured, a sentence; empty where it was
            quiet.
    """

    created: str
    reason: str
    run: str
    machine: Mapping[str, Any]
    cells: tuple[BaselineCell, ...]
    history: tuple[Mapping[str, str], ...] = ()
    busy: str = ""

    @property
    def busy_words(self) -> str:
        """What a check says of it; empty where the machine was quiet."""
        return f"The baseline: {self.busy}" if self.busy else ""

    @property
    def fingerprint(self) -> str:
        """Of the machine that it was measured on."""
        return str(self.machine.get("fingerprint"))


def read_baseline(path: Path) -> Baseline:
    """Read and validate a baseline file.

    Raises:
        SparsebenchError: it is missing, no TOML, or against results/schema/baseline.v1.json.
    """
    if not path.exists():
        raise SparsebenchError(
            f"There is no baseline file {path}.",
            f"`sparsebench baseline update RUN --out {path} --reason …` writes one.",
        )
    data = read_toml(path)
    validate("baseline", data, str(path))
    return Baseline(
        created=data["created"],
        reason=data["reason"],
        run=data["run"],
        machine=data["machine"],
        cells=tuple(_read_cell(cell) for cell in data["cells"]),
        history=tuple(data.get("history", ())),
        busy=data.get("busy", ""),
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline file.

    Raises:
        SparsebenchError: the file cannot be written.
    """
    import tomli_w

    data = _without_none(
        {
            "schema": SCHEMA,
            "created": baseline.created,
            "reason": baseline.reason,
            "run": baseline.run,
            "busy": baseline.busy or None,
            "machine": plain(baseline.machine),
            "history": [dict(entry) for entry in baseline.history],
            "cells": [_cell_to_toml(cell) for cell in baseline.cells],
        }
    )
    validate("baseline", data, "The new baseline")
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(_COMMENT + tomli_w.dumps(data), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be written ({error.strerror}).") from error


def _read_cell(cell: Mapping[str, Any]) -> BaselineCell:
    ratio = cell["ratio"]
    return BaselineCell(
        key=dict(cell["key"]),
        kind=cell["kind"],
        against=tuple(cell["against"]),
        ratio=RatioEstimate(
            median=float(ratio["median"]),
            low=float(ratio["low"]),
            high=float(ratio["high"]),
            blocks=int(ratio["blocks"]),
            smallest_effect=float(ratio["smallest_effect"]),
        ),
        accuracy_per_seed=tuple(float(value) for value in cell["accuracy_per_seed"]),
        seeds=tuple(cell["seeds"]) if "seeds" in cell else None,
        trained=cell["trained"],
        must_match=dict(cell["must_match"]),
        facts=dict(cell.get("facts", {})),
        limits=Limits(**cell.get("limits", {})),
    )


def _cell_to_toml(cell: BaselineCell) -> dict[str, Any]:
    # TOML knows infinity, so the interval of a single block needs no special case.
    ratio = {one.name: getattr(cell.ratio, one.name) for one in fields(cell.ratio)}
    return {
        "kind": cell.kind,
        "against": list(cell.against),
        "trained": cell.trained,
        "accuracy_per_seed": list(cell.accuracy_per_seed),
        "seeds": None if cell.seeds is None else list(cell.seeds),
        "key": dict(cell.key),
        "ratio": ratio,
        "limits": plain(cell.limits),
        "must_match": plain(cell.must_match),
        "facts": plain(cell.facts),
    }


def _without_none(value: Any) -> Any:
    """TOML has no null: a key without a value is left out, an empty table too."""
    if isinstance(value, dict):
        kept = {key: _without_none(item) for key, item in value.items() if item is not None}
        return {key: item for key, item in kept.items() if key != "limits" or item}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value
