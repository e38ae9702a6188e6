"""The forecast of a plan: this cell's earlier trials, scaled by counts, else "unknown".

A stage that took 2 s for 1,000 images takes 4 s for 2,000; which stage grows by what is for its
workload to say. A cell that was never measured on this machine is not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from sparsebench.bench.forecast.earlier import Earlier, Took, earlier_path, key_of
from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.obstacles import to_fetch
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.workload import Sizes
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import CLASSIFICATION, TaskKind
from sparsebench.bench.tasks.naming import distinct_names

MEASURED, SCALED, UNKNOWN = "measured", "scaled", "unknown"


@dataclass(frozen=True)
class Prediction:
    """The time of a cell.

    Attributes:
        seconds: one trial, end to end, or what else its record times; None where unknown.
        whole: all blocks, with all that a launch takes; None where unknown.
        basis: ``measured`` (this cell, as large), ``scaled`` (this cell, of other counts) or
            ``unknown``.
    """

    seconds: float | None = None
    whole: float | None = None
    basis: str = UNKNOWN


@dataclass(frozen=True)
class Forecast:
    """What a plan will take.

    Attributes:
        cells: all of them with their times, in the plan's order.
        rest: seconds between the launches: opening tasks, tables, figures, the report.
    """

    cells: tuple[tuple[Cell, Prediction], ...]
    rest: float = 0.0

    @property
    def seconds(self) -> float | None:
        """Of the run with all cells whose time is known; None where none is."""
        known = [one.whole for _, one in self.cells if one.whole is not None]
        return sum(known) + self.rest if known else None

    @property
    def unknown(self) -> int:
        """Cells that were never measured on this machine."""
        return sum(one.basis == UNKNOWN for _, one in self.cells)


def forecast(plan: Plan, say: Callable[[str], None] = lambda text: None) -> Forecast:
    """Predict a plan. Tasks are opened to count their images; nothing is measured.

    Args:
        plan: resolved and checked.
        say: told what is being done.

    Raises:
        SparsebenchError: a task or backbone that cannot be had.
    """
    earlier = Earlier.load(earlier_path(str(machine_facts()["fingerprint"])))
    names = distinct_names(plan.tasks, plan.data_dir or None)
    sizes = {name: _sizes(name, plan, say) for name in plan.tasks}
    return Forecast(
        tuple(
            (
                cell,
                predict(plan, cell, *size[:2], names[cell.task], earlier, size[2])
                if size
                else Prediction(),
            )
            for cell in expand(plan)
            for size in (sizes[cell.task],)
        ),
        earlier.rest,
    )


def _sizes(name: str, plan: Plan, say: Callable[[str], None]) -> tuple[int, int, TaskKind] | None:
    """Training and test images, and the kind of task.

    None of a task that is not here: a forecast fetches nothing.
    """
    if to_fetch(name, plan):
        return None
    say(f"opening {name}")
    task = open_task(name, **plan.task_options)
    return len(task.train), len(task.test), task.kind


def predict(
    plan: Plan,
    cell: Cell,
    train: int,
    test: int,
    task: str,
    earlier: Earlier,
    on: TaskKind = CLASSIFICATION,
) -> Prediction:
    """Predict one cell.

    Args:
        plan: resolved.
        cell: one of its cells.
        train: training images of its task.
        test: test images.
        task: what the task is called, without a limit's suffix.
        earlier: what was measured on this machine.
        on: what kind of task it is.
    """
    runs = earlier.runs.get(key_of(plan, cell, task, on))
    if not runs:
        return Prediction()
    kind = workload_of(cell.workload)
    work = kind.work(kind.recorded_on(plan, cell, on), Sizes(train, test, len(plan.seeds)))
    grown = [_growth(run, work) for run in runs]
    spent = median(run.spent + more for run, more in zip(runs, grown, strict=True))
    once = median(run.once + run.around for run in runs)
    # The first time is the slowest: what is exported is kept on disk.
    export = min(run.export for run in runs)
    return Prediction(
        median(run.seconds + more for run, more in zip(runs, grown, strict=True)),
        kind.trainings(plan) * spent + plan.repeats * once + export,
        MEASURED if any(run.work == work for run in runs) else SCALED,
    )


def launch_seconds(
    plan: Plan, cells: Sequence[Cell], task: Task, earlier: Earlier
) -> list[float | None]:
    """What each of these cells of a task will add to one launch; None where it is unknown."""
    sizes, name = (len(task.train), len(task.test)), task.name.removesuffix(f":{plan.limit}")
    whole = [predict(plan, cell, *sizes, name, earlier, task.kind).whole for cell in cells]
    return [None if seconds is None else seconds / plan.repeats for seconds in whole]


def _growth(run: Took, work: dict[str, float]) -> float:
    """Seconds that a trial of this much work takes more than that of a run."""
    return sum(
        seconds * (work[name] / run.work[name] - 1)
        for name, seconds in run.stages.items()
        if name in work and run.work.get(name)
    )
