"""A run at work: a plan's cells, block by block, every trial on disk as soon as it ends."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from sparsebench.bench.clock.alternation import Turns
from sparsebench.bench.comparisons.busy import LOAD, load_of
from sparsebench.bench.forecast import Earlier, earlier_path, launch_seconds
from sparsebench.bench.heads.features import FeatureCache
from sparsebench.bench.machine.drift import Notes, Watch
from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.cells import Cell, launches, swept
from sparsebench.bench.plan.downsized import beside_small
from sparsebench.bench.plan.optional_engines import left_out, why_no_boxes
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.records import RunFolder, Trial
from sparsebench.bench.run.blocks import run_block
from sparsebench.bench.run.build_records import finish_cells
from sparsebench.bench.run.heat import qualify, rivals, skipped_trial
from sparsebench.bench.run.ledger import Ledger
from sparsebench.bench.run.networks import Networks
from sparsebench.bench.run.own_heads import OwnHeads
from sparsebench.bench.run.pace import Pace
from sparsebench.bench.run.stopping import Stop, most_blocks, stops
from sparsebench.bench.run.untimed import Untimed, needing_heads, worker_bytes
from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import DETECTION
from sparsebench.bench.tasks.naming import distinct_names, renamed
from sparsebench.bench.workloads.block_context import BlockContext
from sparsebench.models.cache import cache_dir

log = logging.getLogger("sparsebench")

MEMORY_SHARE = 0.6
"""Of the memory that is free when a run begins, for all its workers."""


class Display(Protocol):
    """Where progress is shown."""

    def begin(self, title: str, pace: Pace) -> None:
        """A run begins; `pace` tells at any moment how far it is."""

    def say(self, text: str) -> None:
        """What is being done now."""

    def note(self, text: str) -> None:
        """What has happened, to stay in sight."""


def measure_here(
    plan: Plan,
    cells: Sequence[Cell],
    folder: RunFolder,
    display: Display,
    turns: Turns,
    untimed: Untimed | None = None,
) -> None:
    """Measure cells on this machine; see :data:`sparsebench.bench.run.execute.Measure`.

    Args:
        plan: with its baselines.
        cells: all of the plan's.
        folder: open.
        display: receives progress.
        turns: with another run, where the two take turns.
        untimed: what of it was found beforehand.
    """
    for text in left_out(plan):
        log.warning(text)
        display.note(f"Note: {text}")
    run = _Run(plan, cells, folder, display, turns, untimed or Untimed())
    display.begin(plan.name, run.pace)
    for name in plan.tasks:
        run.open_and_measure(name)


class _Run:
    """A run at work: what is shared by its blocks."""

    def __init__(
        self,
        plan: Plan,
        cells: Sequence[Cell],
        folder: RunFolder,
        display: Display,
        turns: Turns,
        untimed: Untimed,
    ) -> None:
        self.plan = plan
        self.groups = list(launches(list(cells), most_workers))
        larger = beside_small(plan)
        self.pace = Pace(
            (
                (i, {cell.id: cell.workload for cell in group}, plan.repeats)
                for i, group in enumerate(self.groups)
            ),
            open_end=plan.half_width > 0,
            perhaps=self._perhaps(cells, turns),
            networks={cell.id: _network(cell) for cell in cells},
            usual={name: larger * workload_of(name).usual_seconds for name in plan.workloads},
        )
        self.turns = turns
        self.folder = folder
        self.notes = Notes(folder.path)
        self.display = display
        self.cache = FeatureCache(cache_dir("features"))
        self.names = distinct_names(plan.tasks, plan.data_dir or None)
        self.networks = Networks(display.say, cells)
        self.ledger = Ledger(plan, folder)
        self.untimed = untimed
        self.own_heads = OwnHeads(plan, untimed.own)
        # As it was before this run: its forecast stands beside what it measures.
        self.earlier = Earlier.load(earlier_path(str(machine_facts()["fingerprint"])))
        self.needing_heads = needing_heads(cells)

    def _open(self, name: str) -> Task:
        self.display.say(f"opening {name}")
        task = open_task(
            name,
            **self.plan.task_options,
            say=self.display.say,
            progress=lambda done, all_: self.display.say(f"checking images {done}/{all_}"),
        )
        self.networks.open(name, task.kind)
        task = renamed(task, self.names[name], self.plan.limit)
        for skipped in task.skipped:
            log.warning("task %s: skipped %s", task.name, skipped)
        return task

    def open_and_measure(self, name: str) -> None:
        """All blocks of one task; finished trials of a resumed run are not repeated."""
        task = self._open(name)
        mine = {i: group for i, group in enumerate(self.groups) if group[0].task == name}
        for number, group in mine.items():
            self.pace.expect(number, launch_seconds(self.plan, group, task, self.earlier))
        for number, group in mine.items():
            self._leave_out_without_boxes(task, group)
            self._heat(task, group)
            started, ended, spare = time.monotonic(), dict[str, Stop](), self.plan.discards
            for block in range(most_blocks(self.plan)):
                if self.plan.half_width:
                    seconds = time.monotonic() - started
                    measured = [t for cell in group for t in self.ledger.trials(cell.id)]
                    ended = stops(group, self.plan, measured, seconds)
                todo = self._todo(group, block, ended)
                blocks = self.plan.repeats - block if todo else 0
                self.pace.left(number, blocks, self.ledger.failed | ended.keys())
                while todo and self._block(task, todo, block, number, spare > 0):
                    spare -= 1
                    todo = self._todo(group, block, ended)
            self.pace.left(number, 0)
            finish_cells(
                self.folder,
                self.ledger,
                self.plan,
                task,
                group,
                self.networks.found,
                self.earlier,
                self._facts(group, task, ended),
            )
            self.ledger.forget(group)
            self.networks.release(group for i, group in enumerate(self.groups) if i > number)

    def _perhaps(self, cells: Sequence[Cell], turns: Turns) -> set[str]:
        """Cells that a qualifying heat may leave out."""
        heat = self.plan.heat and not turns.shared
        return {cell.id for cell in rivals(cells, self.plan)} if heat else set()

    def _leave_out_without_boxes(self, task: Task, group: Sequence[Cell]) -> None:
        """Skip the optional cells whose engine does not run the detector, on a task of boxes."""
        if task.kind is not DETECTION:
            return
        for cell in group:
            reasons = why_no_boxes(self.plan, cell.backbone)
            reason = reasons.get((cell.engine, cell.precision))
            if reason and cell.id not in self.ledger.begun:
                self._emit(skipped_trial(cell, self.folder.name, {"reason": reason}))

    def _heat(self, task: Task, group: Sequence[Cell]) -> None:
        """Skip the dense rivals that do not qualify; a run that goes on has had its heat."""
        entered = {cell.id for cell in rivals(group, self.plan)}
        # Two runs that take turns must measure the same cells.
        if not self.plan.heat or self.turns.shared or not entered or entered & self.ledger.begun:
            return
        out = qualify(group, self.plan, lambda cell: self.networks.of(cell, task), self.display.say)
        for cell in group:
            if cell.id in out:
                self._emit(skipped_trial(cell, self.folder.name, out[cell.id]))

    def _todo(self, group: Sequence[Cell], block: int, ended: dict[str, Stop]) -> list[Cell]:
        return [
            cell
            for cell in group
            if (cell.id, block) not in self.ledger.done
            and cell.id not in self.ledger.failed
            and cell.id not in ended
        ]

    def _block(
        self, task: Task, cells: Sequence[Cell], block: int, group: int, may_discard: bool
    ) -> bool:
        """One launch of a block; whether the drift rule has discarded it."""
        prefix = f"block {block + 1}/{self.plan.repeats}{swept(self.plan, cells[0])} · "
        context = BlockContext(
            run=self.folder.name,
            plan=self.plan,
            task=task,
            block=block,
            launch=uuid.uuid4().hex[:8],
            cache=self.cache,
            needs_accuracy=self._needs_accuracy,
            emit=self._emit,
            say=lambda text: self.display.say(prefix + text),
            turns=self.turns,
            keep=self.ledger.keep,
            earlier=self.ledger.good_trials,
            reach=lambda cell, share: self.pace.reach(cell.id, share),
            heads=self.untimed.heads,
        )
        log.info("%s%d cells, launch %s", prefix, len(cells), context.launch)
        self.ledger.begin(context.launch)
        watch = Watch(self.notes)
        self.pace.start(group, [cell.id for cell in cells])
        run_block(cells, lambda cell: self.networks.of(cell, task), context)
        # A block that only one of two runs repeats would stand beside another one's block.
        may_discard = may_discard and not self.turns.shared
        reason = watch.end(block=block, launch=context.launch, may_discard=may_discard)
        self.pace.end(kept=reason is None)
        if reason is not None:
            self.ledger.discard(reason)
            self.display.note(f"Block {block + 1} is discarded and measured again: {reason}.")
        return reason is not None

    def _facts(
        self, group: Sequence[Cell], task: Task, ended: dict[str, Stop]
    ) -> dict[str, dict[str, Any]]:
        """What a record says of its blocks, and of its network as it is.

        Why there are no more blocks, what disturbed them, what its own classifier gets right.
        """
        noted = self.notes.of_launches
        disturbed = {
            launch: line["disturbed"] for launch, line in noted.items() if line["disturbed"]
        }
        load = load_of(line for line in noted.values() if not line["discarded"])
        if self.turns.shared:  # what the other side computes is no load of the machine
            load |= {"own_cpus": None, "foreign_cpus": None}
        launches = {t.launch for cell in group for t in self.ledger.trials(cell.id)}
        return {
            cell.id: {
                LOAD: load,
                "stopped": ended[cell.id].to_json() if cell.id in ended else None,
                "disturbed_launches": {k: v for k, v in disturbed.items() if k in launches},
                **self.own_heads.facts(cell, task),
            }
            for cell in group
        }

    def _needs_accuracy(self, cell: Cell) -> bool:
        """Whether no other cell on the same engine lends its accuracy."""
        return cell.id in self.needing_heads and cell.id not in self.ledger.accurate

    def _emit(self, trial: Trial) -> None:
        self.ledger.add(trial)
        self.pace.reach(trial.cell, 1.0)


def _network(cell: Cell) -> tuple[str, str, int, int]:
    """What is exported for a cell: engines share it."""
    return cell.task, cell.backbone, cell.size, cell.batch_size


def most_workers(cell: Cell) -> int:
    """Workers like that of a cell for which this machine has memory now."""
    import psutil

    free = psutil.virtual_memory().available * MEMORY_SHARE
    return max(2, int(free / worker_bytes(cell)))
