"""What a run's networks get right with their own classifiers, beside the heads that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsebench.bench.heads.own_head import (
    OwnAccuracy,
    differences,
    evaluate_own_head,
    knows_classes,
)
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import OWN_HEAD
from sparsebench.bench.statistics.intervals import Interval
from sparsebench.bench.tasks.base import Task
from sparsebench.models.errors import SparsebenchError

OwnPlace = tuple[str, str, int]
OwnFound = OwnAccuracy | str | None


class OwnHeads:
    """Accuracies of networks as they are, each measured once a task and size.

    They are PyTorch's or ONNX Runtime's in fp32, whatever engine a cell is of, and outside of every
    clock. Networks whose file or names do not tell that they know the task's classes are left out,
    unless the plan says that they do (``own_head``).

    Attributes:
        found: task, backbone and size -> what was measured, why it failed, or None of a network
            that does not know the classes.
    """

    def __init__(self, plan: Plan, found: Mapping[OwnPlace, OwnFound] | None = None) -> None:
        self._plan = plan
        self.found: dict[OwnPlace, OwnFound] = dict(found or {})

    def facts(self, cell: Cell, task: Task) -> dict[str, Any]:
        """For a record's ``extra``; empty where the network does not know the task's classes.

        Under :data:`~sparsebench.bench.records.OWN_HEAD`: measure (``top-1``, ``top-5``, ``ReaL``)
        -> ``value``, ``ci95`` (0-1) and ``images``; of a sparse network also ``change`` against
        its dense baseline, image by image, and ``against``; or ``reason``, where it failed.
        """
        mine = self.of(cell.backbone, cell, task)
        if mine is None:
            return {}
        if isinstance(mine, str):
            return {OWN_HEAD: {"reason": mine}}
        told: dict[str, Any] = {name: _json(one) for name, one in mine.intervals().items()}
        dense = self.of(cell.dense, cell, task) if cell.dense != cell.backbone else None
        if isinstance(dense, OwnAccuracy):
            told["against"] = cell.dense
            changes = differences(mine, dense)
            told["change"] = {name: _json(one) for name, one in changes.items()}
        return {OWN_HEAD: told}

    def of(self, name: str, cell: Cell, task: Task) -> OwnFound:
        """A backbone's on a cell's task and size, measured now unless it is there."""
        place = (cell.task, name, cell.size)
        if place not in self.found:
            self.found[place] = self._measured(name, cell.size, task)
        return self.found[place]

    def _measured(self, name: str, size: int, task: Task) -> OwnFound:
        told = self._plan.own_head
        try:
            if not told and not knows_classes(name, task):
                return None
            return evaluate_own_head(name, task, own_head=told, size=size or None)
        except SparsebenchError as error:
            return str(error)


def _json(interval: Interval) -> dict[str, Any]:
    return {"value": interval.mid, "ci95": [interval.low, interval.high], "images": interval.count}
