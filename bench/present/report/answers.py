"""Which is fastest within so many points? The question that a report opens with.

A question is asked of one run, one workload, one dense backbone and the settings that go with
it. Candidates are that dense backbone and its sparse variants on every engine. A candidate is
*within* the margin where even the lower end of the 95 % interval of its accuracy change is, on
every task; where only the mean is, it is *unsure*. Speed is ranked by the geometric mean over
the tasks, and told against the best dense engine of each task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sparsebench.bench.comparisons import ratio_of_cells
from sparsebench.bench.present.report.cells import Cell, delta_json, estimate_json
from sparsebench.bench.present.report.engines import for_production
from sparsebench.bench.present.report.runs import RunFacts
from sparsebench.bench.records import Estimate
from sparsebench.bench.statistics import RatioEstimate, geometric_mean, verdict

Standing = Literal["within", "unsure", "outside", "unknown"]
UNITY = RatioEstimate(1.0, 1.0, 1.0, 1, 0.0)


@dataclass(frozen=True)
class Candidate:
    """A backbone on an engine, over the tasks of a question.

    Args:
        name: backbone and engine.
        cells: task -> cell.
        seconds: geometric mean over tasks; only for ranking.
        total: against the best dense engine, geometric mean over tasks.
        production: whether its engine's licence allows production.
    """

    name: str
    cells: Mapping[str, Cell]
    seconds: float
    total: RatioEstimate
    production: bool

    @property
    def is_dense(self) -> bool:
        """Whether it is the dense backbone."""
        return next(iter(self.cells.values())).is_dense

    @property
    def worst(self) -> Cell:
        """The cell with the largest loss of accuracy."""
        known = [cell for cell in self.cells.values() if cell.row.delta is not None]
        if not known:
            return next(iter(self.cells.values()))
        return min(known, key=lambda cell: cell.row.delta.mean if cell.row.delta else 0.0)

    @property
    def is_reference(self) -> bool:
        """Whether it is what the totals are taken against, on every task."""
        return all(cell.row.best for cell in self.cells.values())

    @property
    def ratio(self) -> Estimate:
        """The total as it is stored and printed."""
        return Estimate(self.total.median, self.total.ci95, self.total.blocks)

    def standing(self, margin: float) -> Standing:
        """Where it stands to a margin (points) on the task where it stands worst."""
        order: tuple[Standing, ...] = ("unknown", "outside", "unsure", "within")
        found = {_standing(cell, margin) for cell in self.cells.values()}
        return next(standing for standing in order if standing in found)

    def to_json(self) -> dict[str, Any]:
        """For a script: the worst accuracy change is that of `worst_task`."""
        return {
            "name": self.name,
            "speedup_best_dense": estimate_json(self.ratio),
            "verdict_best_dense": verdict(self.total),
            "accuracy_change_points": delta_json(self.worst.row.delta),
            "worst_task": self.worst.record.task.name,
            "production": self.production,
            "records": {task: cell.record.id for task, cell in self.cells.items()},
        }


@dataclass(frozen=True)
class Question:
    """All candidates of a run's workload that compete, fastest first.

    Args:
        run: label of the run.
        workload: of all cells.
        partner: the dense backbone.
        settings: those that vary between the questions of the run, in words.
        tasks: all of them.
        candidates: measured on every task, fastest first.
        unmeasured: sparse candidates that lack a task or an accuracy.
    """

    run: RunFacts
    workload: str
    partner: str
    settings: str
    tasks: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    unmeasured: int


@dataclass(frozen=True)
class Answer:
    """Who wins a question at a margin; each one is None where there is no such candidate.

    Args:
        question: what was asked.
        margin: points of accuracy that may be lost.
        winner: the fastest candidate within the margin, dense ones included.
        best_dense: the fastest dense candidate.
        best_sparse: the fastest sparse candidate within the margin.
        runner_up: the next within the margin.
        lead: time of the runner-up over that of the winner.
        unsure: faster than the winner, but its interval reaches beyond the margin.
        outside: faster than the winner and outside the margin.
        deployable: the fastest within whose licence allows production, if that of `taken` does not.
    """

    question: Question
    margin: float
    winner: Candidate | None
    best_dense: Candidate | None = None
    best_sparse: Candidate | None = None
    runner_up: Candidate | None = None
    lead: RatioEstimate | None = None
    unsure: Candidate | None = None
    outside: Candidate | None = None
    deployable: Candidate | None = None

    @property
    def certain(self) -> bool:
        """Whether a sparse candidate wins and is surely faster than the best dense one."""
        return (
            self.winner is not None
            and not self.winner.is_dense
            and verdict(self.winner.total) == "better"
        )

    @property
    def taken(self) -> Candidate | None:
        """What the answer recommends: dense, unless a sparse candidate is surely faster."""
        return self.winner if self.certain else self.best_dense

    @property
    def has_sparse(self) -> bool:
        """Whether any sparse candidate has a time and an accuracy."""
        return any(not candidate.is_dense for candidate in self.question.candidates)


def questions_of(run: RunFacts, cells: Sequence[Cell]) -> list[Question]:
    """The questions that a run can be asked, in the order of its tables."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_group(cell), []).append(cell)
    keys = list(groups)
    varying = [i for i in _SETTING_WORDS if len({key[i] for key in keys}) > 1]
    return [
        _question(run, key, group, ", ".join(_SETTING_WORDS[i].format(key[i]) for i in varying))
        for key, group in groups.items()
    ]


def answer(question: Question, margin: float) -> Answer:
    """The answer at a margin, in points."""
    standing = {c.name: c.standing(margin) for c in question.candidates}
    within = [c for c in question.candidates if standing[c.name] == "within"]
    dense = [c for c in within if c.is_dense]
    if not within:
        return Answer(question, margin, None)
    winner = within[0]
    runner_up = within[1] if len(within) > 1 else None
    faster = [c for c in question.candidates if c.seconds < winner.seconds]

    def first(kind: Standing) -> Candidate | None:
        return next((c for c in faster if standing[c.name] == kind), None)

    found = Answer(
        question=question,
        margin=margin,
        winner=winner,
        best_dense=dense[0] if dense else None,
        best_sparse=next((c for c in within if not c.is_dense), None),
        runner_up=runner_up,
        lead=None if runner_up is None else _lead(question.run, winner, runner_up),
        unsure=first("unsure"),
        outside=first("outside"),
    )
    if found.taken is None or found.taken.production:
        return found
    return replace(found, deployable=_deployable(question.run, within))


# position in the key of a group -> how the setting is said
_SETTING_WORDS = {2: "{}", 3: "{} threads", 4: "batch {}", 5: "{} px"}


def _group(cell: Cell) -> tuple[Any, ...]:
    engine = cell.record.engine
    size = cell.record.settings.get("size")
    return (
        cell.record.workload, cell.partner, engine.device, engine.threads, engine.batch_size, size
    )  # fmt: skip


def _question(
    run: RunFacts, key: tuple[Any, ...], group: Sequence[Cell], settings: str
) -> Question:
    tasks = tuple(dict.fromkeys(cell.record.task.name for cell in group))
    by_name: dict[str, dict[str, Cell]] = {}
    for cell in group:
        precision = cell.record.engine.precision
        suffix = "" if precision in ("fp32", *cell.row.engine.split()) else f" {precision}"
        by_name.setdefault(cell.name + suffix, {})[cell.record.task.name] = cell
    found, unmeasured = [], 0
    for name, cells in by_name.items():
        candidate = _candidate(name, cells)
        complete = len(cells) == len(tasks) and candidate is not None
        if candidate is not None and complete and candidate.standing(0.0) != "unknown":
            found.append(candidate)
        elif not next(iter(cells.values())).is_dense:
            unmeasured += 1
    found.sort(key=lambda candidate: candidate.seconds)
    return Question(run, key[0], key[1], settings, tasks, tuple(found), unmeasured)


def _candidate(name: str, cells: Mapping[str, Cell]) -> Candidate | None:
    totals = [_total(cell) for cell in cells.values()]
    known = [total for total in totals if total is not None]
    if len(known) < len(totals):
        return None
    logs = [math.log(cell.seconds) for cell in cells.values()]
    return Candidate(
        name=name,
        cells=dict(cells),
        seconds=math.exp(sum(logs) / len(logs)),
        total=geometric_mean(known),
        production=all(for_production(cell.record) for cell in cells.values()),
    )


def _total(cell: Cell) -> RatioEstimate | None:
    if cell.row.best:
        return UNITY
    total = cell.row.total
    if total is None:
        return None
    low, high = total.ci95 or (0.0, math.inf)
    return RatioEstimate(total.median, low, high, total.blocks, 0.0)


def _standing(cell: Cell, margin: float) -> Standing:
    if not cell.record.backbone.trained:
        return "unknown"
    if cell.is_dense:
        return "within" if cell.row.accuracy is not None else "unknown"
    delta = cell.row.delta
    if delta is None:
        return "unknown"
    if delta.ci95 is not None and delta.ci95[0] >= -margin:
        return "within"
    return "unsure" if delta.mean >= -margin else "outside"


def _deployable(run: RunFacts, within: Sequence[Candidate]) -> Candidate | None:
    """The fastest for production; a dense one unless a sparse one is surely faster than it."""
    allowed = [candidate for candidate in within if candidate.production]
    dense = next((candidate for candidate in allowed if candidate.is_dense), None)
    if not allowed or dense is None or allowed[0].is_dense:
        return allowed[0] if allowed else None
    lead = _lead(run, allowed[0], dense)
    return allowed[0] if lead is not None and verdict(lead) == "better" else dense


def _lead(run: RunFacts, winner: Candidate, other: Candidate) -> RatioEstimate | None:
    ratios = [
        ratio_of_cells(run.times[other.cells[task].record.id], run.times[cell.record.id])
        for task, cell in winner.cells.items()
    ]
    known = [ratio for ratio in ratios if ratio is not None]
    return geometric_mean(known) if len(known) == len(ratios) else None
