"""What of a comparison group needs no clock: heads that nothing timed trains, networks as they are.

``inference`` shows an accuracy, and where no other workload of the plan lends it one, trains the
heads outside of its clock; so is a network's own classifier scored. On this machine that comes
between the blocks. On many, several such parts share a machine, before the group is timed on one
that it has for itself. Everything else is timed: each training of a seed in ``full`` and
``linear-online`` is one more time as well.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sparsebench.bench.heads.features import FeatureCache
from sparsebench.bench.heads.fit import torch_threads
from sparsebench.bench.heads.scored import Heads
from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.settings import HeadSettings
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.records import SCORED_ON
from sparsebench.bench.run.blocks import start_sessions
from sparsebench.bench.run.heat import rivals
from sparsebench.bench.run.networks import Networks
from sparsebench.bench.run.own_heads import OwnFound, OwnHeads, OwnPlace
from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import CLASSIFICATION
from sparsebench.bench.workloads.block_context import BlockContext, failures_become_trials
from sparsebench.bench.workloads.linear_head import fit_and_score
from sparsebench.models.cache import cache_dir

# What a worker holds: its engine's library and a compiled network; then, for each number of an
# image, what the network makes of it on its way.
WORKER_BYTES, BYTES_A_NUMBER = 0.6e9, 100


@dataclass(frozen=True)
class Untimed:
    """What was found without a clock; it travels between machines.

    Attributes:
        heads: id of a cell -> its heads. A cell whose heads could not be trained is not there:
            whoever times it finds the reason.
        own: see :class:`OwnHeads`.
    """

    heads: Mapping[str, Heads] = field(default_factory=dict)
    own: Mapping[OwnPlace, OwnFound] = field(default_factory=dict)

    def and_also(self, other: Untimed) -> Untimed:
        """Both together."""
        return Untimed({**self.heads, **other.heads}, {**self.own, **other.own})


@dataclass(frozen=True)
class Part:
    """The untimed work on one network of a group.

    Attributes:
        cell: one of the network.
        heads: ids of the cells whose heads are to be trained.
    """

    cell: Cell
    heads: frozenset[str]


def needing_heads(cells: Sequence[Cell]) -> set[str]:
    """Ids of the cells that no other one on the same engine lends its accuracy."""
    lenders = {(c.task, c.worker) for c in cells if workload_of(c.workload).lends_accuracy}
    return {cell.id for cell in cells if (cell.task, cell.worker) not in lenders}


def untimed_parts(plan: Plan, cells: Sequence[Cell]) -> list[Part]:
    """The untimed work of a group, network by network.

    Args:
        plan: of the group; rivals that its heat may leave out train no heads beforehand.
        cells: all of the group's.
    """
    perhaps = {cell.id for cell in rivals(cells, plan)} if plan.heat else set()
    train_heads = {cell.id for cell in cells if _trains_heads_untimed(cell)}
    wanted = (needing_heads(cells) & train_heads) - perhaps
    networks: dict[str, Part] = {}
    for cell in cells:
        part = networks.setdefault(cell.backbone, Part(cell, frozenset()))
        networks[cell.backbone] = replace(part, heads=part.heads | ({cell.id} & wanted))
    # Random weights know no classes.
    return [p for p in networks.values() if p.heads or p.cell.card.trained or plan.own_head]


def find_untimed(plan: Plan, backbone: str, heads: Collection[str]) -> Untimed:
    """Do the untimed work on a network here.

    Args:
        plan: of a group.
        backbone: of :class:`Part`, like the next.
        heads: see above.

    Raises:
        SparsebenchError: the task cannot be opened.
    """
    cells = [cell for cell in expand(plan) if cell.backbone == backbone]
    machine = machine_facts()["fingerprint"]  # of all of its processors
    with _processors(cells[0].threads):
        task = open_task(plan.tasks[0], **plan.task_options)
        own = OwnHeads(plan)
        with torch_threads(cells[0].threads):
            own.of(backbone, cells[0], task)
        # Heads that find boxes are told how long decoding takes: that is timed.
        able = task.kind is CLASSIFICATION
        mine = [cell for cell in cells if cell.id in heads and able]
        trained = _trained(plan, mine, task)
    told = {SCORED_ON: machine}
    heads_there = {id_: replace(one, extra={**one.extra, **told}) for id_, one in trained.items()}
    return Untimed(heads_there, own.found)


def worker_bytes(cell: Cell) -> float:
    """Memory of a cell's worker, about."""
    return WORKER_BYTES + BYTES_A_NUMBER * cell.batch_size * 3 * cell.size**2


def _trains_heads_untimed(cell: Cell) -> bool:
    kind = workload_of(cell.workload)
    return kind.borrows_accuracy and issubclass(kind.settings, HeadSettings)


def _trained(plan: Plan, cells: Sequence[Cell], task: Task) -> dict[str, Heads]:
    networks = Networks(_ignore, expand(plan))
    networks.open(plan.tasks[0], task.kind)
    context = BlockContext(
        run="",
        plan=plan,
        task=task,
        block=0,
        launch="",
        cache=FeatureCache(cache_dir("features")),
        needs_accuracy=lambda cell: True,
        emit=_ignore,
        say=_ignore,
    )
    found: dict[str, Heads] = {}
    for cell in cells:
        with ExitStack() as stack:
            for one in start_sessions([cell], lambda c: networks.of(c, task), context, stack):
                with failures_become_trials(one, context, 0, set()):
                    settings = plan.section(cell.workload, HeadSettings)
                    found[cell.id] = fit_and_score(one, context, settings).heads
    return found


@contextmanager
def _processors(count: int) -> Iterator[None]:
    """Keep this process to processors that no other part on this machine has, while there are.

    Every worker takes the first ones of those that its parent may use.
    """
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for first in range(0, len(before) - count + 1, count):
            path = Path(tempfile.gettempdir()) / f"sparsebench-{os.getuid()}-cpu{before[first]}"
            file = stack.enter_context(open(path, "ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            os.sched_setaffinity(0, before[first : first + count])
            break
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def _ignore(*given: object) -> None:
    pass
