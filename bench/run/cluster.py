"""A plan over the machines of a Ray cluster: a lease is a node with one comparison group on it.

All blocks of a group, a baseline and everything that is set against it, run on one node, and no
other group runs there meanwhile: a node offers one of the resource :data:`NODE`, and a lease takes
it with the node's processors. The driver submits all groups, takes back what each wrote and appends
it to the run's folder; nobody else writes there. What a lost node had is measured again elsewhere,
whole, since ratios are formed inside one machine only.
"""

from __future__ import annotations

import importlib
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sparsebench
from sparsebench.bench.machine.drift import BLOCKS
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Record, RunFolder, Trial
from sparsebench.bench.records.jsonl import append_line
from sparsebench.bench.records.outcomes import FOLDER
from sparsebench.bench.run.groups import Group, files_of, groups_of
from sparsebench.bench.run.leased import Looked, Measured, Refused, look, measure
from sparsebench.bench.run.ledger import SKIPPED
from sparsebench.bench.run.pace import Pace
from sparsebench.bench.run.run import Display
from sparsebench.bench.tasks.naming import distinct_names
from sparsebench.models.cpus import threads_text
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import install_command

NODE = "sparsebench_node"
"""The resource that a node offers one of, to be leased as a whole."""
WAIT_SECONDS = 30.0
"""For the cluster's answer, for a node's, and for a first or another node that can be leased."""
TRIES = 3
"""Nodes that may be lost with the same group on them before that is no chance any more."""
OFFER = f"ray start --address=ADDRESS --resources='{{\"{NODE}\": 1}}'"
log = logging.getLogger("sparsebench")


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
        self._ray = _join(address, wait)

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
        groups = _incomplete(groups_of(plan, cells), plan, folder)
        if not groups:
            return
        processors = self._looked_at(plan, groups)
        lease = partial(self._lease, folder.name, processors)
        pending = {lease(group): (group, 1) for group in groups}
        last_node = time.monotonic()
        while pending:
            done = len(groups) - len(pending)
            display.say(f"{done} of {len(groups)} comparison groups measured")
            for answer in self._ray.wait(list(pending), num_returns=1, timeout=1.0)[0]:
                group, tries = pending.pop(answer)
                measured = self._answer(answer, group)
                if measured is not None:
                    _add(measured, group, folder, names[group.cells[0].task], display)
                    continue
                if tries == TRIES:
                    raise SparsebenchError(
                        f"{tries} nodes were lost with the same group on them: {group.label}.",
                        "Look into Ray's logs; what was finished stays, --resume goes on.",
                    )
                text = f"A node was lost; measured again on another: {group.label}."
                log.warning(text)
                display.note(text)
                pending[lease(group)] = group, tries + 1
            if self._nodes():
                last_node = time.monotonic()
            elif time.monotonic() - last_node > self._wait:
                raise self._no_node()

    def _lease(self, run: str, processors: int, group: Group) -> Any:
        """Submit a group; it starts when a whole node is free."""
        options: dict[str, Any] = {
            "num_cpus": processors,
            "resources": {NODE: 1},
            "max_retries": 0,  # a lost node is noted here
            "num_gpus": int(group.plan.device == "cuda"),
        }
        return self._ray.remote(**options)(measure).remote(group.plan, run, str(Path.cwd()))

    def _answer(self, answer: Any, group: Group) -> Measured | None:
        """What a lease gave back; None where its node was lost."""
        ray = self._ray
        try:
            found: Measured | Refused = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise SparsebenchError(
                f"A group failed on the cluster ({group.label}): {_last_line(error)}",
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

    def _looked_at(self, plan: Plan, groups: Sequence[Group]) -> int:
        """Processors of a lease, after a look at every node: the suite, its version, files.

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
        # So many that nobody else's work finds room on the smallest of them.
        return min(int(node["Resources"].get("CPU", 0)) for node in nodes)

    def _look(self, node: dict[str, Any], files: Sequence[str]) -> Looked:
        ray = self._ray
        place = importlib.import_module("ray.util.scheduling_strategies")
        here = place.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked = ray.remote(num_cpus=0, scheduling_strategy=here, max_retries=0)(look)
        try:
            found: Looked = ray.get(asked.remote(files, str(Path.cwd())), timeout=self._wait)
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


def _join(address: str, wait: float) -> Any:
    if find_spec("ray") is None:
        raise SparsebenchError(
            "--ray needs Ray, which is not installed.",
            f"Install it: {install_command('sparsebench[ray]')}",
        )
    _refuse_silent(address, wait)
    ray = importlib.import_module("ray")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a refused connection, another version of Ray or Python, a token
        raise SparsebenchError(
            f"The Ray cluster at {address} cannot be joined: {_first_line(error)}",
            "Check the address, and that Ray and Python are of the same versions on all machines.",
        ) from error
    return ray


def _refuse_silent(address: str, wait: float) -> None:
    """Stop where nobody listens, sooner than Ray gives up.

    Raises:
        SparsebenchError: no address, or nobody answers.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SparsebenchError(
            f"'{address}' is no address of a Ray cluster.",
            "Give HOST:PORT, as `ray start --head` prints it, or auto.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=wait).close()
    except OSError as error:
        raise SparsebenchError(
            f"Nobody answers at {address} ({error.strerror or error}; {wait:g} s at most).",
            "Start the cluster (`ray start --head`), or check the address.",
        ) from error


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


def _incomplete(groups: Sequence[Group], plan: Plan, folder: RunFolder) -> list[Group]:
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


def _add(measured: Measured, group: Group, folder: RunFolder, name: str, display: Display) -> None:
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


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
