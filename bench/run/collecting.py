"""The driver's folder of a run over many machines: what it lacks, and what leases give back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparsebench.bench.machine.drift import BLOCKS
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Record, RunFolder, Trial
from sparsebench.bench.records.jsonl import append_line
from sparsebench.bench.records.outcomes import FOLDER
from sparsebench.bench.run.groups import Group
from sparsebench.bench.run.leased import Measured
from sparsebench.bench.run.ledger import SKIPPED
from sparsebench.bench.run.run import Display
from sparsebench.bench.tasks.naming import distinct_names

log = logging.getLogger("sparsebench")


def incomplete(groups: Sequence[Group], plan: Plan, folder: RunFolder) -> list[Group]:
    """Groups with a cell that lacks its record; what there is of their trials is discarded.

    A group is measured whole on one machine, so trials of another one do not count.
    """
    over = {
        record.id
        for record in folder.records()
        if record.status == SKIPPED or len(record.trials) >= plan.repeats
    }
    left = [group for group in groups if not group.ids <= over]
    again = set[str]().union(*(group.ids for group in left))
    reason = "its comparison group is measured again, whole, on one machine"
    for trial in folder.trials():
        if trial.cell in again and trial.status == "ok":
            folder.append_trial(replace(trial, status="discarded", reason=reason))
    return left


def add(measured: Measured, group: Group, folder: RunFolder, name: str, display: Display) -> None:
    """Append what a lease gave back, trials before records, as a run here would have.

    Args:
        measured: of the group.
        group: that was leased.
        folder: of the run, open.
        name: of its task in the whole plan, where two may be called alike.
        display: receives a note of cells that the node left out.
    """
    for text in measured.log:
        log.info("%s: %s", measured.node, text)
    for file, data in measured.outcomes.items():
        target = folder.path / FOLDER / Path(file).name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    for block in measured.blocks:
        append_line(folder.path / BLOCKS, block)
    for trial in measured.trials:
        folder.append_trial(Trial.from_json(trial))
    alone = distinct_names(group.plan.tasks, group.plan.data_dir or None)[group.plan.tasks[0]]
    for line in measured.records:
        record = Record.from_json(line)
        suffix = record.task.name.removeprefix(alone)
        folder.append_record(replace(record, task=replace(record.task, name=name + suffix)))
    if left := len(group.ids - {line["id"] for line in measured.records}):
        display.note(f"{measured.node} left out {left} cells of {group.label}: see log.txt.")
