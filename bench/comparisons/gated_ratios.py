"""The gated ratio of every cell of a run.

Each cell has one ratio, taken inside its own run, so that a machine that is slower today cancels:

- a sparse cell: its dense baseline's time over its own, on the same engine;
- a dense cell: the geometric mean of the same dense backbone's times on the *other* engines over
  its own. A slowdown of a whole engine leaves the first ratio alone and shows here.

A limit may also set a cell against the same backbone on one other engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from sparsebench.bench.comparisons import (
    Records,
    by_cell,
    differing_keys,
    find_partner,
    indexed,
    pair_blocks,
    run_times,
)
from sparsebench.bench.comparisons.accuracy_change import accuracy_of
from sparsebench.bench.comparisons.matching import must_match
from sparsebench.bench.comparisons.times import CellTimes
from sparsebench.bench.records import Accuracy, Record, Trial
from sparsebench.bench.statistics import BlockPair, RatioEstimate, estimate_ratio
from sparsebench.bench.statistics.ratios import log_time
from sparsebench.models.errors import SparsebenchError

SPEEDUP = "speedup"
ENGINES = "engines"
KEY = (
    "workload", "task", "backbone", "engine", "device", "precision", "threads", "batch_size",
)  # fmt: skip
# Not part of what a run must share with its baseline: what the gate is there to judge, what the
# key holds already, and the machine, which is compared as a whole.
_LEFT_OUT = (
    "engine.version", "engine.options", "machine.fingerprint", "workload", "task.name",
    "engine.name", "engine.device", "engine.precision", "engine.threads", "engine.batch_size",
    "backbone.arch",
)  # fmt: skip


@dataclass(frozen=True)
class GatedCell:
    """One cell of a run as the gate sees it.

    Args:
        record: the cell, whatever its status.
        kind: "speedup" or "engines".
        against: the dense baseline's name, or the other engines; empty where there is none.
        ratio: None where it could not be had.
        accuracy: its own or its training workload's.
        stages: stage -> seconds in units of the reference's whole time.
        reason: why there is no ratio.
        to_engines: other engine -> this backbone's time there over this one's, where asked for.
    """

    record: Record
    kind: str
    against: tuple[str, ...]
    ratio: RatioEstimate | None
    accuracy: Accuracy | None
    stages: Mapping[str, float]
    reason: str | None = None
    to_engines: Mapping[str, RatioEstimate] = field(default_factory=dict)


def key_of(record: Record) -> dict[str, Any]:
    """What identifies a cell across runs; its values are strings and numbers."""
    engine = record.engine
    values = (
        record.workload, record.task.name, record.backbone.name, engine.name, engine.device,
        engine.precision, engine.threads, engine.batch_size,
    )  # fmt: skip
    return dict(zip(KEY, values, strict=True))


def engine_of(key: Mapping[str, Any], varying: Collection[str] = ()) -> str:
    """A cell's engine with what tells it apart: ``native int8``, ``torch, batch 16``.

    Args:
        key: of the cell.
        varying: those of batch size and threads in which the cells of a table differ.
    """
    engine = str(key["engine"])
    usual = {"device": "cpu", "precision": "fp32"}
    engine += "".join(f" {key[name]}" for name in usual if key[name] != usual[name])
    words = {"batch_size": f", batch {key['batch_size']}", "threads": f", {key['threads']} threads"}
    return engine + "".join(text for name, text in words.items() if name in varying)


def varying_of(keys: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Those of batch size and threads in which cells differ."""
    return tuple(name for name in ("batch_size", "threads") if len({key[name] for key in keys}) > 1)


def name_of(key: Mapping[str, Any], varying: Collection[str] = ()) -> str:
    """A cell in words; arguments as of :func:`engine_of`."""
    engine = engine_of(key, varying)
    return f"{key['workload']} · {key['task']} · {key['backbone']} · {engine}"


def keys_to_match(record: Record) -> dict[str, Any]:
    """What a run must share with its baseline besides the key and the machine."""
    keys = must_match(record)
    return {key: value for key, value in keys.items() if key not in _LEFT_OUT}


def gated_cells(
    records: Sequence[Record],
    trials: Sequence[Trial],
    against: Mapping[tuple[Any, ...], Sequence[str]] | None = None,
    to_engines: Mapping[tuple[Any, ...], Collection[str]] | None = None,
) -> list[GatedCell]:
    """All cells of a run with their gated ratios.

    Args:
        records: one a cell.
        trials: of the run; a cell without any uses those of its record.
        against: key's values -> the other engines that a dense cell is compared with;
            without it, all that the run has.
        to_engines: key's values -> the other engines to which its own ratio is wanted.
    """
    records, times = indexed(records), run_times(records, by_cell(trials))
    cells = [_gated(record, records, times, against or {}) for record in records]
    asked = [(to_engines or {}).get(tuple(key_of(cell.record).values()), ()) for cell in cells]
    return [
        replace(cell, to_engines=_ratios_to(cell.record, records, times, engines))
        if engines and cell.ratio is not None
        else cell
        for cell, engines in zip(cells, asked, strict=True)
    ]


def _gated(
    record: Record,
    records: Records,
    times: Mapping[str, CellTimes],
    against: Mapping[tuple[Any, ...], Sequence[str]],
) -> GatedCell:
    found = accuracy_of(record, records)
    accuracy = None if found is None else found[0]
    sparse = not record.backbone.is_dense
    kind = SPEEDUP if sparse else ENGINES
    if record.status != "ok":
        return GatedCell(record, kind, (), None, accuracy, {}, f"{record.status}: {record.reason}")
    if record.id not in times:
        return GatedCell(record, kind, (), None, accuracy, {}, "it has no timed block")
    if not record.engine.runs_itself:
        return GatedCell(record, kind, (), None, accuracy, {}, record.engine.not_itself)
    try:
        references = (
            [find_partner(record, records)]
            if sparse
            else _peers(record, records, times, against.get(tuple(key_of(record).values())))
        )
    except SparsebenchError as error:
        return GatedCell(record, kind, (), None, accuracy, {}, error.cause)
    names = tuple(r.backbone.name if sparse else r.engine.name for r in references)
    usable = [reference for reference in references if reference.id in times]
    if not usable or len(usable) < len(references):
        missing = "its dense baseline was not measured" if sparse else "no other engine to judge by"
        return GatedCell(record, kind, names, None, accuracy, {}, missing)
    pairs = _pairs([times[reference.id] for reference in usable], times[record.id])
    if not pairs:
        return GatedCell(record, kind, names, None, accuracy, {}, "no block has both sides")
    return GatedCell(record, kind, names, estimate_ratio(pairs), accuracy, _stages(record, usable))


def _ratios_to(
    record: Record, records: Records, times: Mapping[str, CellTimes], engines: Collection[str]
) -> dict[str, RatioEstimate]:
    """Engine -> the ratio of a cell to the same backbone there, where both were measured."""
    found = {
        other.engine.name: _pairs([times[other.id]], times[record.id])
        for other in _elsewhere(record, records)
        if other.engine.name in engines and other.id in times and other.engine.runs_itself
    }
    return {engine: estimate_ratio(pairs) for engine, pairs in found.items() if pairs}


def _elsewhere(record: Record, records: Records) -> list[Record]:
    """The same backbone on other engines, in the same settings."""
    free = ("engine.name", "engine.version", "engine.runs_itself", "engine.options")
    return [
        other
        for other in records.of(record)
        if other.engine.name != record.engine.name
        and not differing_keys(record, other, ignore=free)
    ]


def _peers(
    record: Record,
    records: Records,
    times: Mapping[str, CellTimes],
    wanted: Sequence[str] | None,
) -> list[Record]:
    """The other engines that a dense cell is compared with."""
    peers = [
        other
        for other in _elsewhere(record, records)
        if (other.id in times if wanted is None else other.engine.name in wanted)
    ]
    lost = set(wanted or ()) - {other.engine.name for other in peers}
    if lost:
        raise SparsebenchError(f"it was judged by {', '.join(sorted(lost))}, now missing")
    return sorted(peers, key=lambda other: other.engine.name)


def _pairs(references: Sequence[CellTimes], mine: CellTimes) -> list[BlockPair]:
    """Block pairs of a cell against one reference, or against several at once.

    Several stand in the numerator with their geometric mean: `log_time` averages the logarithms
    of a side's trials, so all trials of a block together are just that, provided that each
    reference gives as many; the median of each is taken beforehand to make it so.
    """
    if len(references) == 1:
        return list(pair_blocks(references[0], mine).pairs.values())
    pairings = [pair_blocks(reference, mine).pairs for reference in references]
    blocks = set.intersection(*(set(pairing) for pairing in pairings))
    return [
        BlockPair(
            tuple(np.array([np.exp(log_time(pairing[block].numerator))]) for pairing in pairings),
            pairings[0][block].denominator,
        )
        for block in sorted(blocks)
    ]


def _stages(record: Record, references: Sequence[Record]) -> dict[str, float]:
    """Median seconds of each stage over the reference's median total."""
    totals = [
        median(sum(trial.stages.values()) for trial in reference.trials)
        for reference in references
        if reference.trials
    ]
    names = {name for trial in record.trials for name in trial.stages}
    if not names or not totals or min(totals) <= 0:
        return {}
    unit = float(np.exp(np.mean(np.log(totals))))
    return {
        name: median(trial.stages.get(name, 0.0) for trial in record.trials) / unit
        for name in sorted(names)
    }
