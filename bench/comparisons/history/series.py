"""From a folder of runs to one series a cell, in the order in which they were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench.bench.comparisons.gated_ratios import gated_cells, key_of, name_of, varying_of
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import NothingMeasuredError


@dataclass(frozen=True)
class Series:
    """The gated ratio of one cell over many runs; see `sparsebench.bench.comparisons.gated_ratios`.

    Args:
        name: the cell in words.
        kind: "speedup" or "engines".
        runs: names of the runs, oldest first.
        created: ISO 8601, UTC, of each.
        ratios: point of each run.
        intervals: 95 % interval of each, None where it has none.
        versions: of the engine in each run.
    """

    name: str
    kind: str
    runs: tuple[str, ...]
    created: tuple[str, ...]
    ratios: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    versions: tuple[str | None, ...]


@dataclass(frozen=True)
class History:
    """All series of one machine.

    Args:
        fingerprint: of the machine.
        series: one a cell.
        left_out: runs of other machines, and runs without a measured cell.
    """

    fingerprint: str
    series: tuple[Series, ...]
    left_out: tuple[str, ...]

    @property
    def runs(self) -> list[str]:
        """The runs that any series holds, oldest first."""
        held = {pair for one in self.series for pair in zip(one.created, one.runs, strict=True)}
        return [run for _, run in sorted(held)]


def read_series(root: Path, fingerprint: str = "") -> History:
    """Read every run below a folder.

    Args:
        root: its sub-folders (at any depth) are runs.
        fingerprint: machine to follow; without one, that of most runs. Numbers of two machines
            never enter one series.

    Raises:
        NothingMeasuredError: no run with a measured cell.
    """
    paths = sorted(path.parent for path in root.rglob("records.jsonl"))
    return series_of([RunFolder.reading(path) for path in paths], fingerprint, str(root))


def series_of(
    folders: Sequence[RunFolder], fingerprint: str = "", where: str = "The folders"
) -> History:
    """The series of runs, oldest first whatever their order; see :func:`read_series`."""
    found = []
    left_out = []
    for folder in folders:
        records = [record for record in folder.records() if record.status == "ok"]
        if records:
            found.append((min(record.created for record in records), folder, records))
        else:
            left_out.append(f"{folder.path}: nothing was measured")
    machines = Counter(str(records[0].machine.get("fingerprint")) for _, _, records in found)
    if not machines or (fingerprint and fingerprint not in machines):
        raise NothingMeasuredError(
            f"{where} holds no measured run{f' of machine {fingerprint}' if fingerprint else ''}.",
            "`sparsebench run PLAN --out DIR/NAME` writes one.",
        )
    chosen = fingerprint or machines.most_common(1)[0][0]
    rows: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for created, folder, records in sorted(found, key=lambda item: item[0]):
        if str(records[0].machine.get("fingerprint")) != chosen:
            left_out.append(f"{folder.path}: another machine")
            continue
        for cell in gated_cells(records, folder.trials()):
            if cell.ratio is None:
                continue
            key = key_of(cell.record)
            row = {
                "key": key,
                "kind": cell.kind,
                "run": folder.name,
                "created": created,
                "ratio": cell.ratio.median,
                "interval": cell.ratio.ci95,
                "version": cell.record.engine.version,
            }
            rows.setdefault((*key.values(), cell.against), []).append(row)
    varying = varying_of([group[0]["key"] for group in rows.values()])
    series = tuple(_series(group, varying) for group in rows.values())
    return History(chosen, series, tuple(left_out))


def _series(rows: list[Mapping[str, Any]], varying: Sequence[str]) -> Series:
    def column(key: str) -> tuple[Any, ...]:
        return tuple(row[key] for row in rows)

    return Series(
        name=name_of(rows[0]["key"], varying),
        kind=rows[0]["kind"],
        runs=column("run"),
        created=column("created"),
        ratios=column("ratio"),
        intervals=column("interval"),
        versions=column("version"),
    )
