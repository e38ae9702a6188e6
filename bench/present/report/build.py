"""Everything that a report says, put together once for all its forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparsebench.bench.decide.answers import Limits
from sparsebench.bench.decide.licences import EngineFacts, engine_facts, weights_of
from sparsebench.bench.decide.study import Study
from sparsebench.bench.present import escape
from sparsebench.bench.present.decisions.answer_json import answer_json
from sparsebench.bench.present.decisions.sentences import Said, said
from sparsebench.bench.present.report.cross_run import (
    Difference,
    SideBySide,
    differences,
    side_by_side,
)
from sparsebench.bench.present.report.problems import Problem, problems_of
from sparsebench.bench.present.report.runs import RunFacts, load_runs
from sparsebench.bench.present.report.shown_cells import Cell, cells_of
from sparsebench.bench.present.tables.forecasts import total_of
from sparsebench.bench.present.tables.over_tasks import OverTasks, over_tasks
from sparsebench.bench.present.tables.theory import READING
from sparsebench.bench.present.tables.wording import how_to_read, warning_of, warnings
from sparsebench.bench.tasks.kinds import word_of

MARGIN = 0.5
OTHER_MARGINS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Report:
    """What a report says.

    Args:
        runs: in the order given.
        cells: all that were measured.
        limits: of the answers: points of accuracy that may be lost, and the like.
        answers: margin -> answer to each question, those over all tasks of a workload and those
            of each task; the chosen margin among others.
        problems: cells and trials without a number.
        engines: their licences and support.
        weights: backbone -> licence.
        differences: between the runs, where there are several.
        beside: cells of several runs.
        over_tasks: run label -> geometric means over its tasks.
    """

    runs: tuple[RunFacts, ...]
    cells: tuple[Cell, ...]
    limits: Limits
    answers: dict[float, tuple[Said, ...]]
    problems: tuple[Problem, ...]
    engines: tuple[EngineFacts, ...]
    weights: dict[str, str]
    differences: tuple[Difference, ...]
    beside: tuple[SideBySide, ...]
    over_tasks: dict[str, tuple[OverTasks, ...]]

    @property
    def margin(self) -> float:
        """Points of accuracy that may be lost."""
        return self.limits.max_accuracy_loss

    @property
    def chosen(self) -> tuple[Said, ...]:
        """The answers at the chosen margin."""
        return self.answers[self.margin]

    def headlines(self, margin: float) -> list[Said]:
        """The answers that a page opens with: those over all tasks of a workload."""
        return [one for one in self.answers[margin] if one.answer.question.whole]

    @property
    def reading(self) -> str:
        """What the columns of the tables are."""
        text = how_to_read([section for run in self.runs for section in run.sections])
        text = text.removeprefix("How to read it: ")
        return f"{text[:1].upper()}{text[1:]} {READING}"

    @property
    def left_out(self) -> list[str]:
        """Images and engines that the numbers do not speak of, as sentences."""
        told = warnings([record for run in self.runs for record in run.records])
        return [text for text in told if text not in {one.warning for one in self.engines}]

    @property
    def within(self) -> str:
        """When a variant counts as within the margin."""
        word = word_of(one.task.metric for run in self.runs for one in run.records)
        return (
            f"“Within”: the {word} change against the variant's dense baseline stays within the "
            f"limit with a probability of {self.limits.confidence:.4g} or more. “Significantly "
            "better” is corrected for every comparison of the run (Holm)."
        )

    def repeat(self, run: RunFacts) -> str | None:
        """The command that repeats a whole run."""
        if run.plan is None:
            return None
        return escape.shell(
            ["sparsebench", "run", str(run.path / "plan.toml"), "--out", f"{run.path}-again"]
        )

    def to_json(self) -> dict[str, Any]:
        """The same facts for a script."""
        return {
            "max_accuracy_loss_points": self.margin,
            "confidence": self.limits.confidence,
            "production": self.limits.production,
            "answers": [answer_json(one) for one in self.chosen],
            "cells": [cell.to_json() for cell in self.cells],
            "problems": [problem.to_json() for problem in self.problems],
            "runs": [
                {
                    "run": run.label,
                    "measured": run.when,
                    "machines": [dict(facts) for facts in run.machines.values()],
                    "packages": run.packages,
                    "repeat": self.repeat(run),
                    "forecast": _total_json(run),
                    "busy": run.busy.sentence if run.busy else None,
                }
                for run in self.runs
            ],
            "engines": [engine.to_json() for engine in self.engines],
            "weights": self.weights,
            "differences": [difference.to_json() for difference in self.differences],
            "side_by_side": [one.to_json() for one in self.beside],
        }


def build_report(
    paths: Sequence[Path],
    margin: float = MARGIN,
    *,
    production: bool = False,
    confidence: float = Limits.confidence,
) -> Report:
    """Read runs and answer every question that they can be asked.

    Args:
        paths: folders of the runs.
        margin: points of accuracy that may be lost.
        production: whether the engine's licence must allow production.
        confidence: probability, 0-1, with which the margin must hold.

    Raises:
        SparsebenchError: a limit is no number that can be meant, or a run cannot be read.
        NothingMeasuredError: a run has no record yet.
    """
    wanted = Limits(margin, production=production, confidence=confidence)
    runs = load_runs(paths)
    cells = {run.label: cells_of(run) for run in runs}
    every = [cell for run in runs for cell in cells[run.label]]
    several = len(runs) > 1
    studies = {run.label: Study([run.data]) for run in runs}
    answers = {}
    for asked in sorted({*OTHER_MARGINS, margin}):
        answers[asked] = _answers(studies, replace(wanted, max_accuracy_loss=asked))
    every_record = [record for run in runs for record in run.records]
    engines = sorted({record.engine.name for record in every_record})
    return Report(
        runs=tuple(runs),
        cells=tuple(every),
        limits=wanted,
        answers=answers,
        problems=tuple(problem for run in runs for problem in problems_of(run)),
        engines=tuple(engine_facts(name, every_record, warning_of(name)) for name in engines),
        weights=weights_of(every_record),
        differences=tuple(differences(runs)) if several else (),
        beside=tuple(side_by_side(runs, every)) if several else (),
        over_tasks={
            run.label: tuple(over_tasks(run.records, run.trials, run.comparisons)) for run in runs
        },
    )


def _answers(studies: Mapping[str, Study], limits: Limits) -> tuple[Said, ...]:
    """Each run's answers; of several runs the title names it. Speed-only questions come last."""
    found = [
        one if len(studies) == 1 else replace(one, title=f"{one.title}, {label}")
        for label, study in studies.items()
        for one in said(study, limits)
    ]
    return tuple(
        sorted(found, key=lambda one: all(c.is_dense for c in one.answer.question.candidates))
    )


def _total_json(run: RunFacts) -> dict[str, float | None]:
    total = total_of(run.records, run.blocks)
    return {"predicted_seconds": total.predicted, "measured_seconds": total.measured}
