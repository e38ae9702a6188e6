"""Answers in words, as pieces of text of which some are strong: for HTML, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.present.report.answers import Answer, Candidate
from sparsebench.bench.present.report.cells import ratio_text
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.records import Estimate
from sparsebench.bench.statistics import RatioEstimate, verdict


@dataclass(frozen=True)
class Piece:
    """A piece of a sentence."""

    text: str
    strong: bool = False


Sentence = tuple[Piece, ...]


@dataclass(frozen=True)
class AnswerWords:
    """One answer, said.

    Args:
        title: the question it answers: workload, and what else tells it from the others.
        kind: "sparse" (a sparse backbone is surely fastest), "dense" or "none".
        headline: the answer.
        remarks: runner-up, licence, what lies outside the margin.
    """

    title: str
    kind: str
    headline: Sentence
    remarks: tuple[Sentence, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain sentences."""
        return {
            "question": self.title,
            "kind": self.kind,
            "answer": plain(self.headline),
            "remarks": [plain(remark) for remark in self.remarks],
        }


def plain(sentence: Iterable[Piece]) -> str:
    """A sentence without its marks."""
    return "".join(piece.text for piece in sentence)


def points(margin: float) -> str:
    """A margin in words: "0.5 points"."""
    return f"{margin:g} point" if margin == 1 else f"{margin:g} points"


def title_of(answer: Answer, *, name_run: bool, name_partner: bool) -> str:
    """A question's title, as short as tells it from the others."""
    question = answer.question
    tasks = question.tasks
    where = tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"
    words = [f"{question.workload} on {where}"]
    words += [question.partner] if name_partner else []
    words += [question.settings] if question.settings else []
    words += [question.run.label] if name_run else []
    return ", ".join(words)


def in_words(answer: Answer, title: str) -> AnswerWords:
    """The answer with its remarks."""
    if answer.winner is None or not answer.has_sparse:
        return AnswerWords(title, "none", _nothing(answer), ())
    if answer.certain:
        headline = _sparse_wins(answer, answer.winner)
    else:
        headline = _dense_wins(answer)
    kind = "sparse" if answer.certain else "dense"
    return AnswerWords(title, kind, headline, tuple(_remarks(answer)))


def _nothing(answer: Answer) -> Sentence:
    count = answer.question.unmeasured
    if count == 0:
        why = "no sparse backbone was measured."
    elif count == 1:
        why = "the only sparse candidate has no accuracy (generated weights), or was not measured."
    else:
        why = (
            f"none of the {count} sparse candidates has both a time and an accuracy on every "
            "task (generated weights have none)."
        )
    return (Piece("No answer", True), Piece(f": {why}"))


def _sparse_wins(answer: Answer, winner: Candidate) -> Sentence:
    return (
        Piece(winner.name, True),
        Piece(" is fastest: "),
        *_speed(winner),
        Piece(f" the speed of {_reference(answer)}, accuracy "),
        *_accuracy(winner),
        Piece("."),
    )


def _dense_wins(answer: Answer) -> Sentence:
    dense, sparse = answer.best_dense, answer.best_sparse
    if dense is None:  # without a dense candidate nothing can be said to be faster than it
        return (Piece("No answer", True), Piece(": the dense partner has no accuracy."))
    head = (Piece(dense.name, True), Piece(" (dense): "))
    if sparse is None:
        return (*head, Piece("no sparse candidate surely stays within the margin."))
    how = {"better": "is faster", "worse": "is slower"}.get(
        verdict(sparse.total), "is not surely faster"
    )
    return (
        *head,
        Piece(f"the quickest sparse candidate within the margin {how}. It is {sparse.name}: "),
        *_speed(sparse),
        Piece(", accuracy "),
        *_accuracy(sparse),
        Piece("."),
    )


def _remarks(answer: Answer) -> Iterable[Sentence]:
    if answer.deployable is not None:
        yield (
            Piece("For production", True),
            Piece(": the licence of this engine does not allow it; take "),
            Piece(f"{answer.deployable.name}, "),
            *_said(answer.deployable),
        )
    elif answer.taken is not None and not answer.taken.production:
        why = ": the licence of this engine does not allow it, and no other engine was measured."
        yield (Piece("For production", True), Piece(why))
    other = answer.runner_up
    if answer.certain and other and other is not answer.best_dense and answer.lead is not None:
        told = verdict(answer.lead) == "better"
        how = f"{_ratio(answer.lead)} the time" if told else "not told apart from it"
        yield (Piece("Runner-up", True), Piece(f": {other.name}, {how}; "), *_said(other))
    if answer.unsure is not None:
        yield (
            Piece("Faster, but not surely within the margin", True),
            Piece(f": {answer.unsure.name}, "),
            *_said(answer.unsure),
        )
    if answer.outside is not None:
        yield (
            Piece("Faster outside the margin", True),
            Piece(f": {answer.outside.name}, "),
            *_said(answer.outside),
        )


def _said(candidate: Candidate) -> Sentence:
    """Its speed with its accuracy, never one without the other."""
    if candidate.is_reference:
        return (Piece("the best dense itself."),)
    if candidate.is_dense:
        return (*_speed(candidate), Piece(", dense."))
    return (*_speed(candidate), Piece(", accuracy "), *_accuracy(candidate), Piece("."))


def _speed(candidate: Candidate) -> Sentence:
    point, spread = numbers.ratio(candidate.ratio)
    over = len(candidate.cells)
    mean = "" if over == 1 else f", geometric mean of {over} tasks"
    return (Piece(point, True), Piece(f" ({spread}{mean})"))


def _accuracy(candidate: Candidate) -> Sentence:
    cell = candidate.worst
    if candidate.is_dense or cell.row.delta is None:
        return (Piece(cell.change_text),)
    at_worst = "" if len(candidate.cells) == 1 else f" at worst ({cell.record.task.name})"
    return (
        Piece(" ".join(numbers.points(cell.row.delta)), True),
        Piece(f" points{at_worst}"),
    )


def _reference(answer: Answer) -> str:
    """What a total of 1 is: the best dense engine, which may differ between tasks."""
    tasks = answer.question.tasks
    dense = answer.best_dense
    if len(tasks) == 1 and dense is not None:
        return f"the best dense, {dense.name}"
    return "the best dense engine"


def _ratio(estimate: RatioEstimate) -> str:
    return ratio_text(Estimate(estimate.median, estimate.ci95, estimate.blocks))
