"""The networks of a run: each exported and checked once, and kept as long as a cell needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import TaskKind
from sparsebench.bench.workloads.prepared_backbone import Prepared, prepare

_Place = tuple[str, str, int, int, str]


class Networks:
    """What is prepared for the cells of a run; workloads that run the same of a network share it.

    Args:
        say: is told what is being done.
        cells: all of the run: a network's file is one for the engines of all.
    """

    def __init__(self, say: Callable[[str], None], cells: Iterable[Cell]) -> None:
        self._say = say
        self._engines = tuple(sorted({cell.engine for cell in cells}))
        self._kinds: dict[str, TaskKind] = {}
        self._prepared: dict[_Place, Prepared] = {}

    def open(self, task: str, kind: TaskKind) -> None:
        """Tell the kind of a task, under the name that cells call it, before one is prepared."""
        self._kinds[task] = kind

    def of(self, cell: Cell, task: Task) -> Prepared:
        """A cell's network, prepared now unless it is there.

        Raises:
            SparsebenchError: it cannot be loaded, exported or shown to be right.
        """
        place = self._place(cell)
        if place not in self._prepared:
            self._say(f"exporting and checking {cell.backbone}")
            self._prepared[place] = prepare(
                cell.backbone,
                task,
                size=cell.size,
                batch_size=cell.batch_size,
                output=workload_of(cell.workload).known_part_of(task.kind),
                engines=self._engines,
            )
        return self._prepared[place]

    def found(self, cell: Cell) -> Prepared | None:
        """A cell's network, if it has been prepared."""
        return self._prepared.get(self._place(cell))

    def release(self, later: Iterable[Sequence[Cell]]) -> None:
        """Let go of networks that no later cell needs: each holds weights, images and threads."""
        needed = {self._place(cell) for group in later for cell in group}
        self._prepared = {place: one for place, one in self._prepared.items() if place in needed}

    def _place(self, cell: Cell) -> _Place:
        kind = self._kinds.get(cell.task)
        part = workload_of(cell.workload).part_of(kind) if kind else ""
        return cell.task, cell.backbone, cell.size, cell.batch_size, part
