"""Cells from records: which of them stand beside a cell of the paper, and which do not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from sparsebench.bench.comparisons.matching import find_partner
from sparsebench.bench.decide import RunData
from sparsebench.bench.paper.transfer_cells import Cell, Model, Transfer
from sparsebench.bench.records import Accuracy, Record
from sparsebench.bench.tasks.known_tasks import PAPER_TASKS
from sparsebench.bench.workloads.full import Full
from sparsebench.bench.workloads.linear_cached import LinearCached
from sparsebench.bench.workloads.linear_online import LinearOnline
from sparsebench.models.errors import SparsebenchError

TRANSFER: dict[str, Transfer] = {
    LinearCached.name: "linear", LinearOnline.name: "linear", Full.name: "full",
}  # fmt: skip
"""Workload -> kind of transfer. The paper's linear accuracies are those of cached features."""
_PREFERRED = tuple(TRANSFER)


def our_cells(runs: Sequence[RunData]) -> tuple[list[Cell], list[str]]:
    """One cell for each network, task and transfer that the runs trained.

    Of several records the one counts whose workload is the paper's (cached before online), then
    the one with most seeds, then the newest. A subset of a task (``pets:300``) and a task in
    another metric than the paper's keep names of their own, so that they meet no cell of it.

    Returns:
        The cells, and in words what was left out.
    """
    best: dict[tuple[Model, Transfer, str], tuple[tuple[int, int, str], Cell]] = {}
    counts: dict[str, int] = {}
    for run in runs:
        for record in run.records:
            if record.workload not in TRANSFER:
                continue
            reason = _unusable(record)
            if reason or record.accuracy is None:
                counts[reason] = counts.get(reason, 0) + 1
                continue
            cell = _cell(record, record.accuracy, run)
            rank = (
                -_PREFERRED.index(record.workload),
                len(record.accuracy.per_seed),
                record.created,
            )
            key = (cell.model, cell.transfer, cell.task)
            if key not in best or rank > best[key][0]:
                best[key] = (rank, cell)
    words = [f"{count} {'cell' if count == 1 else 'cells'} {why}" for why, count in counts.items()]
    return [cell for _, cell in best.values()], words


def _unusable(record: Record) -> str:
    if record.status != "ok" or record.accuracy is None:
        return "that failed or have no accuracy"
    if not record.backbone.trained:
        return "with generated weights"
    if "+" in record.backbone.name.partition("@")[0]:
        return "of another shape of the same network (+compact)"
    return ""


def _cell(record: Record, accuracy: Accuracy, run: RunData) -> Cell:
    backbone = record.backbone
    values = [100 * value for value in accuracy.per_seed]
    # The paper's RigL networks have an architecture of their own; their name has the paper's.
    arch = backbone.name.partition("/")[0]
    return Cell(
        model=Model(arch, backbone.method, round(backbone.sparsity, 4)),
        transfer=TRANSFER[record.workload],
        task=_task(record, accuracy),
        mean=fmean(values),
        std=stdev(values) if len(values) > 1 else None,
        trainings=len(values),
        dense=_dense_mean(record, run),
        source=f"{run.name} {record.engine.name} {record.id}".strip(),
    )


def _task(record: Record, accuracy: Accuracy) -> str:
    facts = PAPER_TASKS.get(record.task.name)
    if facts is not None and accuracy.metric != facts.metric:
        return f"{record.task.name} ({accuracy.metric})"
    return record.task.name


def _dense_mean(record: Record, run: RunData) -> float | None:
    """The baseline's accuracy in the same run and on the same engine, per cent."""
    partner = record if record.backbone.is_dense else _partner(record, run.records)
    if partner is None or partner.accuracy is None or not partner.backbone.trained:
        return None
    return 100 * partner.accuracy.mean


def _partner(record: Record, records: Sequence[Record]) -> Record | None:
    """By its name: the paper's RigL networks differ from their dense baseline in architecture."""
    named = [
        other
        for other in records
        if other.backbone.name == record.backbone.dense_partner
        and (other.workload, other.task) == (record.workload, record.task)
        and (other.engine.name, other.engine.device, other.engine.precision)
        == (record.engine.name, record.engine.device, record.engine.precision)
        and other.status == "ok"
    ]
    if named:
        return named[0]
    try:
        return find_partner(record, records)
    except SparsebenchError:
        return None
