"""A plan over the machines of a Ray cluster: a lease is a node with one comparison group on it.

All blocks of a group, a baseline and everything that is set against it, run on one node, and
nothing else runs there meanwhile: a node offers one of the resource :data:`NODE`, and a lease takes
it with the node's processors. What of a group needs no clock comes before: each part of it leases a
share of :data:`NODE`, so that several share a node, and none shares it with a clock. The driver
submits all, takes back what each found and appends it to the run's folder; nobody else writes
there. What a lost node had is done again elsewhere, whole, since ratios are formed inside one
machine only.
"""

from __future__ import annotations

import importlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sparsebench
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import RunFolder
from sparsebench.bench.run.collecting import add, incomplete
from sparsebench.bench.run.groups import Group, files_of, groups_of
from sparsebench.bench.run.joining import join
from sparsebench.bench.run.leased import Looked, Measured, Refused, find_out, look, measure
from sparsebench.bench.run.pace import Pace
from sparsebench.bench.run.run import Display
from sparsebench.bench.run.untimed import Part, Untimed, untimed_parts, worker_bytes
from sparsebench.bench.tasks.naming import distinct_names
from sparsebench.models.cpus import threads_text
from sparsebench.models.errors import SparsebenchError

NODE = "sparsebench_node"
"""The resource that a node offers one of, to be leased as a whole."""
WAIT_SECONDS = 30.0
"""For the cluster's answer, and for a first or another node that can be leased."""
LOOK_SECONDS = 120.0
"""For a node's answer: its first process imports the suite and PyTorch, perhaps from a network."""
SHARES = 10_000
"""Of a resource: Ray counts no finer."""
TRIES = 3
"""Nodes that may be lost with the same group on them before that is no chance any more."""
OFFER = f"ray start --address=ADDRESS --resources='{{\"{NODE}\": 1}}'"
log = logging.getLogger("sparsebench")


@dataclass(frozen=True)
class _Size:
    """What each node has at least.

    Attributes:
        processors: of them.
        memory: bytes that Ray gives to its workers.
    """

    processors: int
    memory: float

    def share(self, cell: Cell) -> float:
        """Of a node, that the untimed work on a cell's network takes: its threads, its memory."""
        # A process that reads images and trains heads, and its worker.
        taken = max(cell.threads / self.processors, 2 * worker_bytes(cell) / self.memory)
        return min(1.0, math.ceil(taken * SHARES) / SHARES)


@dataclass
class _Work:
    """A group, and what is known of it so far.

    Attributes:
        group: of cells.
        parts: of it that need no clock.
        missing: how many of them are not back.
        untimed: what the others found.
        measured: whether the group is over.
    """

    group: Group
    parts: list[Part]
    missing: int
    untimed: Untimed = field(default_factory=Untimed)
    measured: bool = False

    @classmethod
    def of(cls, group: Group) -> _Work:
        """Nothing is known yet."""
        parts = untimed_parts(group.plan, group.cells)
        return cls(group, parts, len(parts))

    def add(self, found: Untimed) -> None:
        """A part is back."""
        self.untimed = self.untimed.and_also(found)
        self.missing -= 1

    @property
    def is_timed_next(self) -> bool:
        """Whether nothing but the clock is left."""
        return not self.missing

    def label(self, part: Part) -> str:
        """What a part is called in messages."""
        return f"the accuracy of {part.cell.backbone} in {self.group.label}"


class Cluster:
    """A joined cluster; leaving it ends what this driver started there.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``.
        wait: see :data:`WAIT_SECONDS`.

    Raises:
        SparsebenchError: Ray is not installed, or nobody answers at the address.
    """

    def __init__(self, address: str, *, wait: float = WAIT_SECONDS) -> None:
        self.address = address
        self._wait = wait
        self._ray = join(address, wait)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def measure(
        self, plan: Plan, cells: Sequence[Cell], folder: RunFolder, display: Display
    ) -> None:
        """Measure the groups that are not complete in the folder.

        See :data:`sparsebench.bench.run.execute.Measure`.

        Raises:
            SparsebenchError: no node can be leased, one lacks the suite, its version or a file, a
                group cannot be measured, or its nodes get lost again and again.
        """
        display.begin(plan.name, Pace())
        names = distinct_names(plan.tasks, plan.data_dir or None)
        groups = incomplete(groups_of(plan, cells), plan, folder)
        if not groups:
            return
        size = self._looked_at(plan, groups)
        works = {place: _Work.of(group) for place, group in enumerate(groups)}
        pending: dict[Any, tuple[int, Part | None, int]] = {}

        def submit(place: int, part: Part | None = None, tries: int = 1) -> None:
            lease = self._lease(works[place], part, folder.name, size)
            pending[lease] = place, part, tries

        for place, work in works.items():
            for untimed in work.parts:
                submit(place, untimed)
            if not work.parts:
                submit(place)
        last_node = time.monotonic()
        while pending:
            measured = sum(work.measured for work in works.values())
            display.say(f"{measured} of {len(groups)} comparison groups measured")
            for answer in self._ray.wait(list(pending), num_returns=1, timeout=1.0)[0]:
                place, part, tries = pending.pop(answer)
                work = works[place]
                label = work.group.label if part is None else work.label(part)
                found = self._answer(answer, label)
                if isinstance(found, Untimed):
                    work.add(found)
                    if work.is_timed_next:
                        submit(place)
                elif found is not None:
                    work.measured = True
                    add(found, work.group, folder, names[work.group.cells[0].task], display)
                elif tries == TRIES:
                    raise SparsebenchError(
                        f"{tries} nodes were lost with the same group on them: {label}.",
                        "Look into Ray's logs; what was finished stays, --resume goes on.",
                    )
                else:
                    again = "measured" if part is None else "done"
                    text = f"A node was lost; {again} again on another: {label}."
                    log.warning(text)
                    display.note(text)
                    submit(place, part, tries + 1)
            if self._nodes():
                last_node = time.monotonic()
            elif time.monotonic() - last_node > self._wait:
                raise self._no_node()

    def _lease(self, work: _Work, part: Part | None, run: str, size: _Size) -> Any:
        """Submit a group, which starts when a whole node is free, or a part, when a share is."""
        plan, here = work.group.plan, str(Path.cwd())
        options: dict[str, Any] = {
            "num_cpus": size.processors if part is None else part.cell.threads,
            "resources": {NODE: 1 if part is None else size.share(part.cell)},
            "max_retries": 0,  # a lost node is noted here
            "num_gpus": int(plan.device == "cuda"),
        }
        if part is None:
            return self._ray.remote(**options)(measure).remote(plan, run, here, work.untimed)
        return self._ray.remote(**options)(find_out).remote(
            plan, part.cell.backbone, part.heads, here
        )

    def _answer(self, answer: Any, label: str) -> Measured | Untimed | None:
        """What a lease gave back; None where its node was lost."""
        ray = self._ray
        try:
            found: Measured | Untimed | Refused = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise SparsebenchError(
                f"A group failed on the cluster ({label}): {_last_line(error)}",
                "What was finished stays; --resume goes on.",
            ) from error
        except ray.exceptions.RayError as error:
            log.warning("lost: %s", _last_line(error))
            return None
        if isinstance(found, Refused):
            raise SparsebenchError(f"On node {found.node}: {found.cause}", found.fix)
        return found

    def _nodes(self) -> list[dict[str, Any]]:
        """What Ray says of the nodes that can be leased."""
        return [
            one for one in self._ray.nodes() if one["Alive"] and one["Resources"].get(NODE, 0) >= 1
        ]

    def _looked_at(self, plan: Plan, groups: Sequence[Group]) -> _Size:
        """What every node has, after a look at each: the suite, its version, files.

        Raises:
            SparsebenchError: names the node and what is wrong with it.
        """
        until = time.monotonic() + self._wait
        while not (nodes := self._nodes()):
            if time.monotonic() > until:
                raise self._no_node()
            time.sleep(0.2)
        files = files_of(plan)
        threads = max(cell.threads for group in groups for cell in group.cells)
        for node in nodes:
            _check(self._look(node, files), str(node["NodeManagerAddress"]), threads)
        held = [node["Resources"] for node in nodes]
        return _Size(
            # So many that nobody else's work finds room on the smallest of them.
            min(int(one.get("CPU", 0)) for one in held),
            min(float(one.get("memory", math.inf)) for one in held),
        )

    def _look(self, node: dict[str, Any], files: Sequence[str]) -> Looked:
        ray = self._ray
        place = importlib.import_module("ray.util.scheduling_strategies")
        here = place.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked = ray.remote(num_cpus=0, scheduling_strategy=here, max_retries=0)(look)
        try:
            found: Looked = ray.get(asked.remote(files, str(Path.cwd())), timeout=LOOK_SECONDS)
        except ray.exceptions.GetTimeoutError as error:
            raise SparsebenchError(
                f"Node {node['NodeManagerAddress']} did not answer within {LOOK_SECONDS:g} s.",
                "Look whether it is reachable, and what else keeps it busy.",
            ) from error
        except Exception as error:  # Ray's own, and whatever the import of the suite raised there
            raise SparsebenchError(
                f"Node {node['NodeManagerAddress']} cannot run sparsebench: {_last_line(error)}",
                f"Install sparsebench {sparsebench.__version__} in the environment of its Ray.",
            ) from error
        return found

    def _no_node(self) -> SparsebenchError:
        return SparsebenchError(
            f"No node of the Ray cluster at {self.address} offers the resource '{NODE}' "
            f"({self._wait:g} s).",
            f"Start each machine that may be leased so: {OFFER}",
        )


def _check(found: Looked, node: str, threads: int) -> None:
    """Refuse a node that would measure something else, or nothing.

    Raises:
        SparsebenchError: names the node.
    """
    if found.version != sparsebench.__version__:
        raise SparsebenchError(
            f"Node {node} has sparsebench {found.version}, this machine {sparsebench.__version__}.",
            "Install the same version on all machines.",
        )
    if found.missing:
        raise SparsebenchError(
            f"Node {node} lacks what the plan names: {', '.join(found.missing)}.",
            "Copy it there under the same path, or put it on a file system that all share.",
        )
    if found.cpus < threads:
        raise SparsebenchError(
            f"Node {node} has {found.cpus} CPUs for the plan's {threads_text(threads)}.",
            f"Take --threads {found.cpus} or fewer.",
        )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
