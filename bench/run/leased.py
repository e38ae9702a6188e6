"""What a leased machine does: look around, measure one comparison group, give back what it wrote.

Or, as one of several that share it, find out what of a group needs no clock.

A group is an ordinary run in a temporary folder. Its lines and files travel to the driver, which
alone writes the run's folder. Nothing here knows how machines are leased.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sparsebench
from sparsebench.bench.clock.alternation import Turns
from sparsebench.bench.machine.drift import BLOCKS
from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import RunFolder
from sparsebench.bench.records.jsonl import read_lines
from sparsebench.bench.records.outcomes import FOLDER
from sparsebench.bench.run.execute import log_to, remember_run
from sparsebench.bench.run.pace import Pace
from sparsebench.bench.run.run import measure_here
from sparsebench.bench.run.untimed import Untimed, find_untimed
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError

LOG = "log.txt"


@dataclass(frozen=True)
class Looked:
    """What a machine has.

    Attributes:
        version: of the suite.
        cpus: that it may use.
        missing: of the files it was asked for.
    """

    version: str
    cpus: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """All that a group's run wrote.

    Attributes:
        node: name of the machine.
        trials: lines of ``trials.jsonl``, like the next two of their files.
        records: see above.
        blocks: see above.
        outcomes: name of a file below ``correct/`` -> its bytes.
        log: lines.
    """

    node: str
    trials: tuple[dict[str, Any], ...]
    records: tuple[dict[str, Any], ...]
    blocks: tuple[dict[str, Any], ...]
    outcomes: dict[str, bytes]
    log: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A :class:`SparsebenchError`, whose class need not survive the way.

    Attributes:
        node: name of the machine.
        cause: as the error's.
        fix: as the error's.
    """

    node: str
    cause: str
    fix: str


class _Silent:
    """Nobody watches."""

    def begin(self, title: str, pace: Pace) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def look(files: Sequence[str], where: str) -> Looked:
    """What this machine has.

    Args:
        files: paths that a plan names.
        where: folder from which relative ones start.
    """
    missing = tuple(name for name in files if not (Path(where) / name).exists())
    return Looked(sparsebench.__version__, usable_cpus(), missing)


def find_out(plan: Plan, backbone: str, heads: Collection[str], where: str) -> Untimed | Refused:
    """Do the untimed work on one network of a group here.

    Args:
        plan: of :class:`Group`.
        backbone: see :func:`find_untimed`, like the next.
        heads: see above.
        where: folder from which the plan's relative paths start.
    """
    try:
        _settle(where)
        return find_untimed(plan, backbone, heads)
    except SparsebenchError as error:
        return Refused(platform.node(), error.cause, error.fix)


def measure(plan: Plan, run: str, where: str, untimed: Untimed) -> Measured | Refused:
    """Measure a group's plan here.

    Args:
        plan: of :class:`Group`.
        run: name of the run, for its records.
        where: folder from which the plan's relative paths start.
        untimed: what of the group was found out before.
    """
    node = platform.node()
    try:
        _settle(where)
        with (
            TemporaryDirectory(prefix="sparsebench-") as top,
            RunFolder.open(Path(top) / run) as folder,
        ):
            log_to(folder.path / LOG)
            since = time.monotonic()
            turns = Turns.from_environment()
            measure_here(plan, expand(plan), folder, _Silent(), turns, untimed)
            remember_run(folder, since)
            return Measured(
                node,
                tuple(trial.to_json() for trial in folder.trials()),
                tuple(record.to_json() for record in folder.records()),
                tuple(line.data for line in read_lines(folder.path / BLOCKS)),
                {file.name: file.read_bytes() for file in (folder.path / FOLDER).glob("*.npz")},
                tuple((folder.path / LOG).read_text("utf-8", errors="replace").splitlines()),
            )
    except SparsebenchError as error:
        return Refused(node, error.cause, error.fix)


def _settle(where: str) -> None:
    # Whoever leases processors may set it for its own; the suite sets threads itself.
    os.environ.pop("OMP_NUM_THREADS", None)
    if Path(where).is_dir():
        os.chdir(where)
