"""A run from a plan to its report: the folder, the measuring, what is written at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sparsebench.bench.clock.alternation import Turns
from sparsebench.bench.forecast import earlier_path, remember
from sparsebench.bench.machine.drift import noted_blocks, wall_seconds
from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.baselines import with_baselines
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.downsized import downsized
from sparsebench.bench.plan.plan import Plan, plan_to_toml
from sparsebench.bench.plan.resuming import same_plan
from sparsebench.bench.present import escape
from sparsebench.bench.present.summaries import write_page, write_summaries
from sparsebench.bench.records import RunFolder
from sparsebench.bench.run.ledger import SKIPPED
from sparsebench.bench.run.run import Display, measure_here
from sparsebench.models.cache_contents import limit_bytes, trim

log = logging.getLogger("sparsebench")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        folder: the run's folder.
        measured: cells with a usable measurement.
        failed: cells without one, but for rivals that a qualifying heat has left out.
    """

    folder: RunFolder
    measured: int
    failed: int


Measure = Callable[[Plan, Sequence[Cell], RunFolder, Display], None]
"""Measures cells of a plan with baselines into a run's open folder."""


def execute(
    plan: Plan, out: Path, *, resume: bool, display: Display, elsewhere: Measure | None = None
) -> Outcome:
    """Measure a plan into a folder.

    Args:
        plan: checked plan.
        out: run folder; must be new or empty unless ``resume``.
        resume: go on where the folder's trials end.
        display: receives progress.
        elsewhere: measures in the place of this machine.

    Returns:
        The outcome; cells that failed are records with a reason.

    Raises:
        SparsebenchError: the folder cannot be used, or a task cannot be opened.
    """
    since = time.monotonic()
    limit_bytes()  # a wrong limit is said now, not when everything is measured
    turns = Turns.from_environment()
    turns.start()
    measure = elsewhere or partial(measure_here, turns=turns)
    with RunFolder.open(out, resume=resume) as folder:
        begun = resume and (folder.path / "plan.toml").exists()
        plan, smaller = (plan, "") if begun else downsized(plan, display.say)
        plan = same_plan(plan, folder.path) if resume else with_baselines(plan)
        cells = expand(plan)
        folder.write_text("plan.toml", plan_to_toml(plan))
        log_to(folder.path / "log.txt")
        log.info("run %s: %d cells, %d blocks", folder.name, len(cells), plan.repeats)
        if smaller:
            log.warning(smaller)
            display.note(f"Note: {smaller}")
        measure(plan, cells, folder, display)
        display.say("writing tables, figures and the report")
        write_summaries(folder)
        write_page(folder)
        trim()
        if elsewhere is None:
            remember_run(folder, since)
        wanted = {cell.id for cell in cells}
        status = {r.id: r.status for r in folder.records() if r.id in wanted}
        good = sum(value == "ok" for value in status.values())
        skipped = sum(value == SKIPPED for value in status.values())
        return Outcome(folder, measured=good, failed=len(wanted) - good - skipped)


def remember_run(folder: RunFolder, since: float) -> None:
    """Keep what a run's cells and the rest of it cost, for the forecast of the next one.

    Args:
        folder: of the run.
        since: when this part of it began (``time.monotonic``).
    """
    notes = noted_blocks(folder.path)
    walls = {launch: wall_seconds(note) for launch, note in notes.items()}
    here = [
        walls[launch] or 0.0
        for launch, note in notes.items()
        if note["before"].get("at", 0.0) >= since  # else of the run that is resumed
    ]
    rest = time.monotonic() - since - sum(here)
    remember(earlier_path(str(machine_facts()["fingerprint"])), folder.records(), walls, rest)


def log_to(path: Path) -> None:
    """The suite's log goes to this file, and nowhere else."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(escape.LogLines("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
