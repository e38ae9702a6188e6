"""All that `sparsebench reproduce` tells: the paper's numbers, ours, and how they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.decide import RunData
from sparsebench.bench.paper import measures
from sparsebench.bench.paper.measures import Agreement, Benefit, ErrorIncrease
from sparsebench.bench.paper.ours import our_cells
from sparsebench.bench.paper.transfer_cells import (
    DENSE,
    TRANSFERS,
    Cell,
    Model,
    Transfer,
    in_order,
    of,
    paper_cells,
)
from sparsebench.bench.records.plain import plain
from sparsebench.bench.statistics import Interval, mean_interval

SOURCE = "Iofinova, Peste, Kurtz, Alistarh, CVPR 2022"
NOT_PUBLISHED = (
    "The paper's times per epoch and shares of dead filters are not among its published numbers.",
)


@dataclass(frozen=True)
class ErrorRow:
    """Mean relative error increase of one network.

    Args:
        model: the network.
        transfer: kind of fine-tuning.
        paper: over all tasks of the paper; None where it has no such network.
        ours: over all tasks of ours; None where nothing was measured.
        shared_paper: the paper's over the tasks that both have.
        shared_ours: ours over those.
        difference: ours minus the paper's over the shared tasks, with the interval of the
            differences by task.
    """

    model: Model
    transfer: Transfer
    paper: ErrorIncrease | None
    ours: ErrorIncrease | None
    shared_paper: ErrorIncrease | None = None
    shared_ours: ErrorIncrease | None = None
    difference: Interval | None = None


@dataclass(frozen=True)
class TaskRow:
    """Accuracy of one network on one task: ours, the paper's (None: it has none), difference."""

    ours: Cell
    paper: Cell | None
    difference: Interval | None


@dataclass(frozen=True)
class Reproduction:
    """The whole.

    Args:
        paper: its cells.
        ours: our cells.
        errors: one row a network and transfer, in the order of the paper's tables.
        tasks: one row for each of our cells.
        benefits: of the paper's networks.
        our_benefits: of ours.
        agreements: (architecture, transfer) -> ranking agreement between ours and the paper's
            mean relative error increases over the shared tasks.
        within_paper: architecture -> agreement of the paper's linear with its full ranking.
        left_out: in words, records that could not become a cell.
    """

    paper: tuple[Cell, ...]
    ours: tuple[Cell, ...]
    errors: tuple[ErrorRow, ...]
    tasks: tuple[TaskRow, ...]
    benefits: tuple[Benefit, ...]
    our_benefits: tuple[Benefit, ...]
    agreements: dict[tuple[str, Transfer], Agreement]
    within_paper: dict[str, Agreement]
    left_out: tuple[str, ...]

    @property
    def archs(self) -> list[str]:
        """Architectures, the paper's first."""
        return list(dict.fromkeys(cell.model.arch for cell in (*self.paper, *self.ours)))

    @property
    def shared(self) -> int:
        """How many of our cells have one of the paper's beside them."""
        return sum(row.paper is not None for row in self.tasks)

    def to_json(self) -> dict[str, Any]:
        """All facts as plain values."""
        return {
            "source": SOURCE,
            "error_increases": [plain(row) for row in self.errors],
            "accuracies": {
                "paper": [plain(cell) for cell in self.paper],
                "ours": [plain(row) for row in self.tasks],
            },
            "difficulty": {
                "paper": [plain(one) for one in self.benefits],
                "ours": [plain(one) for one in self.our_benefits],
            },
            "ranking_agreement": {
                "ours_and_paper": [
                    {"arch": arch, "transfer": transfer, **plain(found)}
                    for (arch, transfer), found in self.agreements.items()
                ],
                "paper_linear_and_full": [
                    {"arch": arch, **plain(found)} for arch, found in self.within_paper.items()
                ],
            },
            "cells_beside_the_paper": self.shared,
            "left_out": list(self.left_out),
            "not_published": list(NOT_PUBLISHED),
        }


def reproduce(runs: Sequence[RunData] = ()) -> Reproduction:
    """Set runs beside the paper; without a run, the paper's numbers stand alone.

    Raises:
        SparsebenchError: the paper's table cannot be read.
    """
    paper = paper_cells()
    ours, left_out = our_cells(runs)
    models = in_order(cell.model for cell in (*paper, *ours))
    archs = list(dict.fromkeys(cell.model.arch for cell in (*paper, *ours)))
    sparse = [
        model for arch in archs for model in models if model.arch == arch and model.method != DENSE
    ]
    errors = [
        row for t in TRANSFERS for m in sparse if (row := _error_row(paper, ours, m, t)) is not None
    ]
    by_model = sorted(errors, key=lambda row: sparse.index(row.model))  # stable: linear first
    return Reproduction(
        paper=tuple(paper),
        ours=tuple(ours),
        errors=tuple(by_model),
        tasks=tuple(_task_rows(paper, ours)),
        benefits=tuple(b for m in sparse if (b := measures.benefit(paper, m)) is not None),
        our_benefits=tuple(b for m in sparse if (b := measures.benefit(ours, m)) is not None),
        agreements=_agreements(by_model, archs),
        within_paper=_within_paper(by_model, archs),
        left_out=tuple(left_out),
    )


def _error_row(
    paper: Sequence[Cell], ours: Sequence[Cell], model: Model, transfer: Transfer
) -> ErrorRow | None:
    theirs = measures.error_increase(paper, model, transfer)
    mine = measures.error_increase(ours, model, transfer)
    if theirs is None and mine is None:
        return None
    both = sorted({*(theirs.tasks if theirs else ())} & {*(mine.tasks if mine else ())})
    if not both:
        return ErrorRow(model, transfer, theirs, mine)
    of_paper, of_ours = of(paper, model, transfer), of(ours, model, transfer)
    differences = [
        (of_ours[task].error_increase or 0.0) - (of_paper[task].error_increase or 0.0)
        for task in both
    ]
    return ErrorRow(
        model,
        transfer,
        theirs,
        mine,
        measures.error_increase(paper, model, transfer, both),
        measures.error_increase(ours, model, transfer, both),
        mean_interval(differences),
    )


def _task_rows(paper: Sequence[Cell], ours: Sequence[Cell]) -> list[TaskRow]:
    known = {(cell.model, cell.transfer, cell.task): cell for cell in paper}
    order = in_order(cell.model for cell in ours)
    rows = []
    for cell in sorted(ours, key=lambda c: (c.transfer != "linear", c.task, order.index(c.model))):
        beside = known.get((cell.model, cell.transfer, cell.task))
        apart = None if beside is None else measures.difference(cell, beside)
        rows.append(TaskRow(cell, beside, apart))
    return rows


def _agreements(
    rows: Sequence[ErrorRow], archs: Sequence[str]
) -> dict[tuple[str, Transfer], Agreement]:
    """Rankings over the same tasks only: networks with other tasks than most are left out."""
    found: dict[tuple[str, Transfer], Agreement] = {}
    for arch in archs:
        for transfer in TRANSFERS:
            pairs: dict[tuple[str, ...], list[tuple[float, float]]] = {}
            for row in rows:
                if (row.model.arch, row.transfer) != (arch, transfer):
                    continue
                if row.shared_paper is not None and row.shared_ours is not None:
                    both = (row.shared_ours.value.mid, row.shared_paper.value.mid)
                    pairs.setdefault(row.shared_ours.tasks, []).append(both)
            most = max(pairs.values(), key=len, default=[])
            one = measures.agreement([a for a, _ in most], [b for _, b in most])
            if one is not None:
                found[arch, transfer] = one
    return found


def _within_paper(rows: Sequence[ErrorRow], archs: Sequence[str]) -> dict[str, Agreement]:
    found: dict[str, Agreement] = {}
    for arch in archs:
        values: dict[Model, dict[Transfer, float]] = {}
        for row in rows:
            if row.model.arch == arch and row.paper is not None:
                values.setdefault(row.model, {})[row.transfer] = row.paper.value.mid
        both = [one for one in values.values() if len(one) == len(TRANSFERS)]
        agreed = measures.agreement([o["linear"] for o in both], [o["full"] for o in both])
        if agreed is not None:
            found[arch] = agreed
    return found
