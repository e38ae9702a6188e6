"""Everything that a report says, put together once for all its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench.bench.present import escape
from sparsebench.bench.present.report.answers import Answer, answer, questions_of
from sparsebench.bench.present.report.cells import Cell, cells_of
from sparsebench.bench.present.report.cross_run import (
    Difference,
    SideBySide,
    differences,
    side_by_side,
)
from sparsebench.bench.present.report.engines import EngineFacts, engines_of, weights_of
from sparsebench.bench.present.report.problems import Problem, problems_of
from sparsebench.bench.present.report.runs import RunFacts, load_runs
from sparsebench.bench.present.report.words import AnswerWords, in_words, title_of
from sparsebench.bench.present.tables.forecasts import total_of
from sparsebench.bench.present.tables.over_tasks import OverTasks, over_tasks
from sparsebench.bench.present.tables.theory import READING
from sparsebench.bench.present.tables.wording import how_to_read
from sparsebench.models.errors import SparsebenchError

MARGIN = 0.5
OTHER_MARGINS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Answered:
    """An answer and how it is said."""

    answer: Answer
    words: AnswerWords


@dataclass(frozen=True)
class Report:
    """What a report says.

    Args:
        runs: in the order given.
        cells: all that were measured.
        margin: points of accuracy that may be lost.
        answers: margin -> answer to each question; the chosen margin among others.
        problems: cells and trials without a number.
        engines: their licences and support.
        weights: backbone -> licence.
        differences: between the runs, where there are several.
        beside: cells of several runs.
        over_tasks: run label -> geometric means over its tasks.
    """

    runs: tuple[RunFacts, ...]
    cells: tuple[Cell, ...]
    margin: float
    answers: dict[float, tuple[Answered, ...]]
    problems: tuple[Problem, ...]
    engines: tuple[EngineFacts, ...]
    weights: dict[str, str]
    differences: tuple[Difference, ...]
    beside: tuple[SideBySide, ...]
    over_tasks: dict[str, tuple[OverTasks, ...]]

    @property
    def chosen(self) -> tuple[Answered, ...]:
        """The answers at the chosen margin."""
        return self.answers[self.margin]

    @property
    def reading(self) -> str:
        """What the columns of the tables are."""
        text = how_to_read([section for run in self.runs for section in run.sections])
        text = text.removeprefix("How to read it: ")
        return f"{text[:1].upper()}{text[1:]} {READING}"

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
            "answers": [_answer_json(one) for one in self.chosen],
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
                }
                for run in self.runs
            ],
            "engines": [engine.to_json() for engine in self.engines],
            "weights": self.weights,
            "differences": [difference.to_json() for difference in self.differences],
            "side_by_side": [one.to_json() for one in self.beside],
        }


def build_report(paths: Sequence[Path], margin: float = MARGIN) -> Report:
    """Read runs and answer every question that they can be asked.

    Args:
        paths: folders of the runs.
        margin: points of accuracy that may be lost.

    Raises:
        SparsebenchError: the margin is negative or no number, or a run cannot be read.
        NothingMeasuredError: a run has no record yet.
    """
    if not 0 <= margin <= 100:
        raise SparsebenchError(
            f"An accuracy loss of {margin:g} points cannot be asked for.",
            "Take a number from 0 to 100, such as --max-accuracy-loss 0.5.",
        )
    runs = load_runs(paths)
    cells = {run.label: cells_of(run) for run in runs}
    every = [cell for run in runs for cell in cells[run.label]]
    questions = [question for run in runs for question in questions_of(run, cells[run.label])]
    # Questions without an answer (speed only) come last.
    questions.sort(key=lambda question: all(one.is_dense for one in question.candidates))
    several = len(runs) > 1
    partners = {label: len({cell.partner for cell in mine}) > 1 for label, mine in cells.items()}
    answers = {}
    for asked in sorted({*OTHER_MARGINS, margin}):
        answers[asked] = tuple(
            Answered(
                found,
                in_words(
                    found,
                    title_of(
                        found, name_run=several, name_partner=partners[found.question.run.label]
                    ),
                ),
            )
            for found in (answer(question, asked) for question in questions)
        )
    return Report(
        runs=tuple(runs),
        cells=tuple(every),
        margin=margin,
        answers=answers,
        problems=tuple(problem for run in runs for problem in problems_of(run)),
        engines=tuple(engines_of(runs)),
        weights=weights_of(runs),
        differences=tuple(differences(runs)) if several else (),
        beside=tuple(side_by_side(runs, every)) if several else (),
        over_tasks={
            run.label: tuple(over_tasks(run.records, run.trials, run.comparisons)) for run in runs
        },
    )


def _total_json(run: RunFacts) -> dict[str, float | None]:
    total = total_of(run.records, run.blocks)
    return {"predicted_seconds": total.predicted, "measured_seconds": total.measured}


def _answer_json(one: Answered) -> dict[str, Any]:
    found = one.answer
    question = found.question
    candidates = {
        "winner": found.winner,
        "best_dense": found.best_dense,
        "best_sparse": found.best_sparse,
        "runner_up": found.runner_up,
        "unsure": found.unsure,
        "outside": found.outside,
        "deployable": found.deployable,
    }
    return {
        **one.words.to_json(),
        "run": question.run.label,
        "workload": question.workload,
        "tasks": list(question.tasks),
        "dense_partner": question.partner,
        **{key: value and value.to_json() for key, value in candidates.items()},
    }
