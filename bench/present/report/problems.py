"""What has no number, or one less: failed cells, discarded trials, refused comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sparsebench.bench.comparisons.dense import REFERENCE_PRECISION
from sparsebench.bench.present.report.runs import RunFacts
from sparsebench.bench.records import Record, Trial


@dataclass(frozen=True)
class Problem:
    """One line of the list.

    Args:
        run: label of the run.
        fate: "failed", "skipped", "discarded", "refused", ... : what became of it.
        what: the cell, or the block with its cells.
        workload: of it; empty where it is about several.
        task: of it; empty where it is about several.
        method: of its backbone; empty where it is about several.
        engine: of it; empty where it is about several.
        reason: why.
    """

    run: str
    fate: str
    what: str
    workload: str
    task: str
    method: str
    engine: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """For a script."""
        return asdict(self)


def problems_of(run: RunFacts) -> list[Problem]:
    """Every cell, comparison, trial and block that did not go as planned, with its reason."""
    records = {record.id: record for record in run.records}
    return [
        *(_of_record(run, r, r.status, r.reason) for r in run.records if r.status != "ok"),
        *_comparisons(run, records),
        *_trials(run, records),
        *_kept(run),
        *_images(run),
    ]


def _of_record(run: RunFacts, record: Record, fate: str, reason: str | None) -> Problem:
    engine = record.engine
    precision = "" if engine.precision == REFERENCE_PRECISION else f" {engine.precision}"
    return Problem(
        run=run.label,
        fate=fate,
        what=f"{record.backbone.name} on {engine.name}{precision}",
        workload=record.workload,
        task=record.task.name,
        method=record.backbone.method,
        engine=record.engine.name,
        reason=_one_line(reason),
    )


def _comparisons(run: RunFacts, records: dict[str, Record]) -> Iterable[Problem]:
    """Comparisons that were not possible although the sparse side was measured."""
    for comparison in run.comparisons:
        record = records[comparison.sparse]
        if comparison.status != "ok" and record.status == "ok":
            fate = "refused" if comparison.status == "refused" else "not compared"
            yield _of_record(run, record, fate, comparison.reason)


def _trials(run: RunFacts, records: dict[str, Record]) -> Iterable[Problem]:
    """Trials that count in no number; those of one launch and reason as one line."""
    failed = {record.id for record in run.records if record.status != "ok"}
    together: dict[tuple[str, int, str, str], list[Trial]] = {}
    for trial in run.trials:
        if trial.status != "ok" and not (trial.status != "discarded" and trial.cell in failed):
            key = (trial.status, trial.block, trial.launch, _one_line(trial.reason))
            together.setdefault(key, []).append(trial)
    for (status, block, _, reason), trials in together.items():
        cells = [records[trial.cell] for trial in trials if trial.cell in records]
        fate = f"trial {status}" if status != "discarded" else "discarded, measured again"
        if len(cells) == 1:
            one = _of_record(run, cells[0], fate, reason)
            yield Problem(**{**asdict(one), "what": f"{one.what}, block {block}"})
        else:
            yield Problem(
                run=run.label,
                fate=fate,
                what=f"block {block}: {len(trials)} cells",
                workload=_common(record.workload for record in cells),
                task=_common(record.task.name for record in cells),
                method=_common(record.backbone.method for record in cells),
                engine=_common(record.engine.name for record in cells),
                reason=reason,
            )


def _kept(run: RunFacts) -> Iterable[Problem]:
    """Blocks that were disturbed and count all the same; records tell where the notes are gone."""
    counting = {one.launch: one.block for record in run.records for one in record.trials}
    kept: dict[str, tuple[Any, Any]] = {}
    for record in run.records:
        told = record.extra.get("disturbed_launches")
        for launch, reason in told.items() if isinstance(told, Mapping) else ():
            if launch in counting and launch not in run.blocks:
                kept[launch] = (counting[launch], reason)
    for launch, noted in run.blocks.items():
        if noted.get("disturbed") and not noted.get("discarded"):
            kept[launch] = (noted.get("block"), noted["disturbed"])
    for block, reason in kept.values():
        yield Problem(
            run.label, "disturbed, kept", f"block {block}", "", "", "", "", _one_line(str(reason))
        )


def _images(run: RunFacts) -> Iterable[Problem]:
    """Images that could not be decoded, once a task."""
    skipped = {
        record.task.name: int(record.extra["task_skipped"])
        for record in run.records
        if record.extra.get("task_skipped")
    }
    for task, count in skipped.items():
        yield Problem(
            run.label, "skipped", f"{count} images", "", task, "", "", "They cannot be decoded."
        )


def _common(values: Iterable[str]) -> str:
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _one_line(text: str | None) -> str:
    return " ".join((text or "no reason was given").split())
