"""Several runs side by side: ratios only, and what differs between the runs.

Times of two machines (or of two days) never meet: each ratio was measured inside its own run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsebench.bench.comparisons import differing_keys
from sparsebench.bench.comparisons.compare_runs import ACROSS_MACHINES, ACROSS_RUNS
from sparsebench.bench.comparisons.family import as_ratio, corrected_verdicts
from sparsebench.bench.machine.facts import MUST_MATCH, describe_machine
from sparsebench.bench.present.report.runs import RunFacts, fact_text
from sparsebench.bench.present.report.shown_cells import Cell, delta_json, estimate_json
from sparsebench.bench.records import Estimate
from sparsebench.bench.statistics import chain_ratios

NOT_SET = "–"
_MACHINE = ("fingerprint", *MUST_MATCH, "kernel", "python")


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same in all runs; values in the order of the runs."""

    what: str
    values: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For a script."""
        return {"what": self.what, "values": list(self.values)}


@dataclass(frozen=True)
class Change:
    """The speed-up of a run over the same speed-up in the first run that has the cell.

    Args:
        ratio: above 1, the later run gains more; None where they are not comparable.
        verdict: of the ratio, corrected (Holm) for all cells of the runs.
        differs: settings that differ, which is why there is no ratio.
    """

    ratio: Estimate | None
    verdict: str | None
    differs: tuple[str, ...]


@dataclass(frozen=True)
class SideBySide:
    """One sparse cell in several runs; None for a run that lacks it.

    Args:
        key: workload, task, backbone, engine, and settings that vary inside a run.
        cells: in the order of the runs.
        changes: against the first run that has the cell; None for that one and the missing.
    """

    key: tuple[str, ...]
    cells: tuple[Cell | None, ...]
    changes: tuple[Change | None, ...]

    def to_json(self) -> dict[str, Any]:
        """For a script."""
        return {
            "workload": self.key[0],
            "task": self.key[1],
            "backbone": self.key[2],
            "engine": " ".join(self.key[3:]),
            "runs": [
                None
                if cell is None
                else {
                    "run": cell.run,
                    "speedup_same_engine": estimate_json(cell.row.speedup),
                    "speedup_best_dense": estimate_json(cell.row.total),
                    "speedup_best_fp32_dense": estimate_json(cell.row.total_fp32),
                    "accuracy_change_points": delta_json(cell.row.delta),
                    "change_of_speedup": change and estimate_json(change.ratio),
                    "verdict": change and change.verdict,
                    "differs": list(change.differs) if change else [],
                }
                for cell, change in zip(self.cells, self.changes, strict=True)
            ],
        }


def differences(runs: Sequence[RunFacts]) -> list[Difference]:
    """Machines, dates, engine versions, packages and settings that are not the same everywhere."""
    found = [
        _difference("measured", [run.when for run in runs]),
        _difference("machine", [_machines(run) for run in runs]),
    ]
    facts = [_facts(run) for run in runs]
    for what in dict.fromkeys(key for told in facts for key in told):
        found.append(_difference(what, [", ".join(told.get(what, [NOT_SET])) for told in facts]))
    return [one for one in found if one is not None]


def side_by_side(runs: Sequence[RunFacts], cells: Sequence[Cell]) -> list[SideBySide]:
    """Sparse cells that at least two runs have."""
    varying = _varying_inside(cells)
    by_key: dict[tuple[str, ...], dict[str, Cell]] = {}
    for cell in cells:
        if not cell.is_dense:
            by_key.setdefault(_key(cell, varying), {})[cell.run] = cell
    found = [
        _beside(key, tuple(mine.get(run.label) for run in runs))
        for key, mine in by_key.items()
        if len(mine) > 1
    ]
    every = [None if c is None else c.ratio for one in found for c in one.changes]
    verdicts = iter(corrected_verdicts(every))
    return [
        replace(
            one,
            changes=tuple(
                change and replace(change, verdict=word)
                for change, word in zip(one.changes, verdicts, strict=False)
            ),
        )
        for one in found
    ]


def _beside(key: tuple[str, ...], cells: tuple[Cell | None, ...]) -> SideBySide:
    first = next(cell for cell in cells if cell is not None)
    changes = tuple(
        None if cell is None or cell is first else _change(first, cell) for cell in cells
    )
    return SideBySide(key, cells, changes)


def _change(first: Cell, other: Cell) -> Change:
    differs = list(
        differing_keys(first.record, other.record, ignore=(*ACROSS_RUNS, *ACROSS_MACHINES))
    )
    if first.record.backbone.sha256 != other.record.backbone.sha256:
        differs.append("weights")
    before, now = first.row.speedup, other.row.speedup
    if differs or before is None or now is None:
        return Change(None, None, tuple(differs))
    ratio = chain_ratios(as_ratio(now), as_ratio(before).inverse())
    stored = Estimate(ratio.median, ratio.ci95, ratio.blocks)
    return Change(stored, None, ())


def _key(cell: Cell, varying: Sequence[str]) -> tuple[str, ...]:
    record = cell.record
    engine = record.engine
    more = [str(getattr(engine, name)) for name in ("device", "precision")]
    usual = [value for value in more if value not in ("cpu", "fp32")]
    extra = [f"{name} {getattr(engine, name)}" for name in varying]
    return (
        record.workload, record.task.name, record.backbone.name,
        " ".join([engine.name, *usual, *extra]),
    )  # fmt: skip


def _varying_inside(cells: Sequence[Cell]) -> list[str]:
    """Settings that a single run has several values of: they tell its cells apart."""
    found = []
    for name in ("threads", "batch_size"):
        values: dict[str, set[int]] = {}
        for cell in cells:
            values.setdefault(cell.run, set()).add(getattr(cell.record.engine, name))
        if any(len(inside) > 1 for inside in values.values()):
            found.append(name)
    return found


def _facts(run: RunFacts) -> dict[str, list[str]]:
    """Fact -> its values in a run, each once, in words."""
    found: dict[str, dict[str, None]] = {}
    for record in run.records:
        engine = record.engine
        told = {f"machine: {key}": record.machine.get(key) for key in _MACHINE}
        told[f"version of {engine.name}"] = engine.version
        told |= {f"package {name}": version for name, version in record.packages.items()}
        told |= {key: getattr(engine, key) for key in ("threads", "batch_size", "device")}
        told |= {f"setting {key}": value for key, value in record.settings.items()}
        for what, value in told.items():
            if value is not None:
                found.setdefault(what, {})[fact_text(value)] = None
    return {what: list(values) for what, values in found.items()}


def _machines(run: RunFacts) -> str:
    return "; ".join(dict.fromkeys(describe_machine(facts) for facts in run.machines.values()))


def _difference(what: str, values: Sequence[str]) -> Difference | None:
    return Difference(what, tuple(values)) if len(set(values)) > 1 else None
