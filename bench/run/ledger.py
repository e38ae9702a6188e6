"""What a run has measured so far: every trial on disk as it ends, and what that settles."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import CORRECT, Kept, RunFolder, Trial
from sparsebench.bench.records.plain import plain

SKIPPED = "skipped"
"""Status of what was left out on purpose, for good."""
log = logging.getLogger("sparsebench")


class Ledger:
    """The trials of a run's folder, of this launch of the suite and of earlier ones.

    Attributes:
        done: cell and block of every good trial.
        accurate: cells that know their accuracy.
        failed: cells that failed in this launch of the suite, or are skipped for good.
        finished: id of a cell with a good record -> how many trials that has.
    """

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._plan = plan
        self._folder = folder
        # Read once: a file that each cell reads again costs the square of a run's length.
        self._trials: dict[str, dict[tuple[int, str], Trial]] = {}
        trials = folder.trials()
        for trial in trials:
            self._note(trial)
        self.finished = {r.id: len(r.trials) for r in folder.records() if r.status == "ok"}
        good = [trial for trial in trials if trial.status == "ok"]
        self.done = {(trial.cell, trial.block) for trial in good}
        self.accurate = {trial.cell for trial in trials if trial.accuracy_per_seed is not None}
        self.failed = {trial.cell for trial in trials if trial.status == SKIPPED}
        # A seed fixes everything: its outcomes are kept once a cell.
        self._kept = {key for trial in good for key in self._seeds(trial)}
        self._block: list[Trial] = []
        self._launch = ""

    @property
    def begun(self) -> set[str]:
        """Cells that were measured or left out before."""
        return {cell for cell, _ in self.done} | self.failed

    def begin(self, launch: str) -> None:
        """A block is launched; what :meth:`discard` takes back starts here."""
        self._block, self._launch = [], launch

    def add(self, trial: Trial) -> None:
        """Write a trial as it ends."""
        self._folder.append_trial(trial)
        self._note(trial)
        self._block.append(trial)
        if trial.accuracy_per_seed is not None:
            self.accurate.add(trial.cell)
        if trial.status == "ok":
            self._kept |= self._seeds(trial)
            self.done.add((trial.cell, trial.block))
        else:
            self.failed.add(trial.cell)
            level = logging.INFO if trial.status == SKIPPED else logging.ERROR
            log.log(level, "cell %s %s: %s", trial.cell, trial.status, trial.reason)

    def discard(self, reason: str) -> None:
        """Take back the good trials of the last launch; they stay on disk with the reason."""
        for trial in self._block:
            if trial.status != "ok":
                continue
            discarded = replace(trial, status="discarded", reason=reason)
            self._folder.append_trial(discarded)
            self._note(discarded)
            self.done.discard((trial.cell, trial.block))
            self.accurate.discard(trial.cell)
            self._kept -= self._seeds(trial)

    def keep(self, cell: Cell, outcomes: Kept) -> dict[str, Any]:
        """Write a launch's outcomes unless all its seeds have theirs; says where they are."""
        if {(cell.id, seed) for seed in outcomes.seeds} <= self._kept:
            return {}
        written = self._folder.write_outcomes(f"{cell.id}-{self._launch}", outcomes)
        return {CORRECT: plain(written)}

    def trials(self, cell: str) -> list[Trial]:
        """A cell's trials, in written order."""
        return list(self._trials.get(cell, {}).values())

    def good_trials(self, cell: Cell) -> list[Trial]:
        """A cell's good trials, in written order."""
        return [trial for trial in self.trials(cell.id) if trial.status == "ok"]

    def forget(self, cells: Iterable[Cell]) -> None:
        """Let go of the trials of cells that are over, which are on disk."""
        for cell in cells:
            self._trials.pop(cell.id, None)

    def _note(self, trial: Trial) -> None:
        # As a reader of the file would find it: a later line replaces its launch's trial.
        place = (trial.block, trial.launch)
        self._trials.setdefault(trial.cell, {})[place] = Trial.from_json(trial.to_json())

    def _seeds(self, trial: Trial) -> set[tuple[str, int]]:
        """Cell and seed of the outcomes that a trial has kept."""
        seeds = trial.extra.get("seeds", self._plan.seeds) if CORRECT in trial.extra else ()
        return {(trial.cell, int(seed)) for seed in seeds}
