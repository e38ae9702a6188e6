"""All questions that runs can be asked, and their answers as one family of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.comparisons.family import as_ratio
from sparsebench.bench.decide.answers import Answer, Limits, Question
from sparsebench.bench.decide.candidates import (
    Candidate,
    Excluded,
    Measurement,
    RunData,
    baseline_of,
    candidate,
    measurement,
    name_of,
)
from sparsebench.bench.decide.rule import Race, Ratio, judge, p_value
from sparsebench.bench.records import Record
from sparsebench.bench.statistics import holm, p_of
from sparsebench.models.cpus import threads_text

Key = tuple[Any, ...]
# position in the key of a question -> how the setting is said
_SETTING_WORDS: dict[int, Callable[[Any], str]] = {
    2: str,
    3: threads_text,
    4: "batch {}".format,
    5: "{} px".format,
}


@dataclass(frozen=True)
class _Variant:
    """A variant of a run: task -> its measurement, None where there is none."""

    run: str
    is_dense: bool
    cells: dict[str, Measurement | None]


class Study:
    """Runs of one machine and every question that they can be asked.

    Args:
        runs: at least one.
        reference: see :class:`Request`.

    Attributes:
        questions: in the records' order, over all tasks before task by task; those that no
            sparse variant takes part in come last.
        excluded: cells that are no candidates, with the reason.
    """

    def __init__(self, runs: Sequence[RunData], reference: str | None = None) -> None:
        self.runs, self.reference = tuple(runs), reference
        self.excluded: list[Excluded] = []
        self._ratios: dict[tuple[Candidate, Candidate], Ratio] = {}
        self._answers: dict[Limits, tuple[Answer, ...]] = {}
        groups: dict[Key, dict[tuple[int, str], _Variant]] = {}
        for number, run in enumerate(self.runs):
            for record in run.records:
                own = baseline_of(record, run.compared.get(record.id), run.records)
                found = measurement(run, record, reference or own)
                if isinstance(found, str):
                    self.excluded.append((_cell_words(record), found))
                key, name = _key(record, reference or own), name_of(record)
                variant = _Variant(run.name, record.backbone.is_dense, {})
                mine = groups.setdefault(key, {}).setdefault((number, name), variant)
                mine.cells[record.task.name] = None if isinstance(found, str) else found
        asked = [q for key in groups for q in self._asked(key, groups[key].values(), groups.keys())]
        self.questions = tuple(
            sorted(asked, key=lambda q: all(one.is_dense for one in q.candidates))
        )

    def _asked(
        self, key: Key, variants: Collection[_Variant], keys: Collection[Key]
    ) -> list[Question]:
        """The questions of one group of cells: over all its tasks, and of each."""
        varying = [i for i in _SETTING_WORDS if len({other[i] for other in keys}) > 1]
        settings = ", ".join(_SETTING_WORDS[i](key[i]) for i in varying)
        named = dict.fromkeys(task for one in variants for task in one.cells)
        # A task on which everything failed does not leave the others without an answer.
        every = tuple(t for t in named if any(one.cells.get(t) for one in variants)) or (*named,)
        scopes = [every, *((task,) for task in every if len(every) > 1)]
        questions = []
        for tasks in scopes:
            chosen, left_out = [], 0
            for one in variants:
                known = {task: one.cells.get(task) for task in tasks}
                complete = {task: cell for task, cell in known.items() if cell is not None}
                if len(complete) == len(tasks):
                    chosen.append(candidate(one.run, complete))
                else:
                    left_out += not one.is_dense
            questions.append(
                Question(
                    runs=tuple(run.name for run in self.runs),
                    workload=key[0], baseline=key[1], tasks=tasks, whole=tasks == every,
                    batch_size=key[4], settings=settings, candidates=tuple(chosen),
                    unmeasured=left_out,
                )
            )  # fmt: skip
        return questions

    def answers(self, limits: Limits) -> tuple[Answer, ...]:
        """The answer to each question; all their tests are corrected together.

        Args:
            limits: what can be accepted.
        """
        if limits not in self._answers:
            races = [Race(question, limits, self._ratio) for question in self.questions]
            single = self._corrected([one for one in races if len(one.question.tasks) == 1], True)
            several = self._corrected([one for one in races if len(one.question.tasks) > 1], False)
            corrected = {**single, **several}
            self._answers[limits] = tuple(judge(race, corrected) for race in races)
        return self._answers[limits]

    def answer(self, question: Question, limits: Limits) -> Answer:
        """The answer to one of the questions."""
        return self.answers(limits)[self.questions.index(question)]

    def _ratio(self, one: Candidate, than: Candidate) -> Ratio:
        if (one, than) not in self._ratios:
            self._ratios[one, than] = one.time_of(than)
        return self._ratios[one, than]

    def _corrected(self, races: Sequence[Race], whole_runs: bool) -> dict[Candidate, float]:
        """p-values after Holm's correction; with those of the runs' other comparisons in it."""
        tests = {one: p_value(log) for race in races for one, (_, log) in race.tests.items()}
        tested = {one.record.id for one in tests}
        others = [
            p_of(as_ratio(one.total))
            for run in self.runs
            for one in run.comparisons
            if whole_runs and one.total is not None and one.sparse not in tested
        ]
        return dict(zip(tests, holm([*tests.values(), *others]), strict=False))


def _key(record: Record, baseline: str) -> Key:
    engine = record.engine
    size = record.settings.get("size")
    return record.workload, baseline, engine.device, engine.threads, engine.batch_size, size


def _cell_words(record: Record) -> str:
    engine = record.engine
    what = f"{record.backbone.name} on {engine.label}"
    return f"{what} ({record.workload}, batch {engine.batch_size})"
