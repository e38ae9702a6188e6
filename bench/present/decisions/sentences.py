"""Answers in words, as pieces of text of which some are strong: for every surface the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sparsebench.bench.decide import Answer, Candidate, Limits, Question, RunData, Study
from sparsebench.bench.decide.answers import CALLS_WITHIN, Claim, Standing
from sparsebench.bench.decide.rule import most_accurate
from sparsebench.bench.present.decisions.amounts import (
    chance,
    milliseconds,
    need_words,
    odds,
    points,
)
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.records import Delta, Estimate
from sparsebench.bench.tasks.kinds import word_of

WORDS = {"better": "significantly better", "worse": "significantly worse"}
"""Verdict -> how it is said, where it is not its own word ("tied", "inconclusive")."""
MOST_NAMED = 3


@dataclass(frozen=True)
class Piece:
    """A piece of a sentence."""

    text: str
    strong: bool = False


Sentence = tuple[Piece, ...]


@dataclass(frozen=True)
class Said:
    """One answer, said.

    Attributes:
        answer: what was found.
        title: the question it answers: workload, and what else tells it from the others.
        headline: the answer.
        remarks: ties, runner-up, what may be faster, licence, the most accurate one.
        production: the answer under --production, where it is another.
    """

    answer: Answer
    title: str
    headline: Sentence
    remarks: tuple[Sentence, ...]
    production: Answer | None = None

    @property
    def tone(self) -> str:
        """The kind of answer as a name in a style sheet."""
        return self.answer.kind.replace(" ", "-")


def plain(sentence: Iterable[Piece]) -> str:
    """A sentence without its marks."""
    return "".join(piece.text for piece in sentence)


def said(study: Study, limits: Limits) -> list[Said]:
    """Every answer of a study in words, in its order."""
    answers = study.answers(limits)
    named = len({one.question.baseline for one in answers}) > 1
    return [_said(study, answer, answers, named) for answer in answers]


def closing_lines(run: RunData, limits: Limits | None = None) -> list[str]:
    """What stands below a run's tables: a title, and the answer to each question over its tasks.

    Empty where no sparse variant has both a time and an accuracy.
    """
    asked = limits or Limits()
    lines = []
    for one in said(Study([run]), asked):
        question = one.answer.question
        if question.whole and any(not other.is_dense for other in question.candidates):
            ties = [plain(remark) for remark in one.remarks if remark[0].text in _TIES]
            lines.append(" ".join([f"{one.title}: {plain(one.headline)}", *ties]))
    word = word_of(record.task.metric for record in run.records)
    title = f"Which to take, losing at most {points(asked.max_accuracy_loss)} of {word}"
    return [title, *lines] if lines else []


def _said(study: Study, answer: Answer, answers: Sequence[Answer], named: bool) -> Said:
    production = None
    if answer.take is not None and answer.take.facts.production is not True:
        other = study.answer(answer.question, replace(answer.limits, production=True))
        production = other if other.take is not answer.take else None
    parts = [
        other
        for other in answers
        if len(answer.question.tasks) > 1
        and len(other.question.tasks) == 1
        and _group(other.question) == _group(answer.question)
    ]
    question = answer.question
    where = question.tasks[0] if len(question.tasks) == 1 else f"{len(question.tasks)} tasks"
    words = [f"{question.workload} on {where}", question.baseline if named else ""]
    title = ", ".join(filter(None, [*words, question.settings]))
    remarks = tuple(_remarks(answer, production, parts))
    return Said(answer, title, headline(answer), remarks, production)


def _group(question: Question) -> tuple[str, str, int, str]:
    return question.workload, question.baseline, question.batch_size, question.settings


def headline(answer: Answer) -> Sentence:
    """The answer in one or two sentences."""
    how = {"sparse": _sparse, "dense": _dense, "not shown": _not_shown}.get(answer.kind)
    if how is not None:
        return how(answer)
    if answer.kind == "nothing fits":
        return (Piece("Nothing fits", True), Piece(f": {'; '.join(_reasons(answer))}."))
    why = "no variant has both a time and an accuracy (generated weights have no accuracy)"
    return (Piece("No answer", True), Piece(f": {why}."))


def _sparse(answer: Answer) -> Sentence:
    take = answer.take
    standing = answer.standing(take)
    assert take is not None and standing is not None
    limit = points(answer.limits.max_accuracy_loss)
    end = Piece(f"; it loses at most {limit} with probability {odds(standing)}.")
    if standing.claim is None:
        why = f" is the fastest within the limits, which no dense variant keeps; {_word(take)} "
        return (Piece(take.name, True), Piece(why), *_change(take), end)
    return (
        Piece(take.name, True),
        Piece(": significantly better, "),
        *_speed(standing.claim, take),
        Piece(f" the speed of the best dense, {_name(answer.hurdle)}; {_word(take)} "),
        *_change(take),
        end,
    )


def _dense(answer: Answer) -> Sentence:
    head = Piece(f"{_name(answer.dense)}", True)
    limit = points(answer.limits.max_accuracy_loss)
    sparse = [one for one in answer.standings if not one.candidate.is_dense]
    if not sparse:
        lack = answer.question.unmeasured
        why = f" ({lack} lack a time or an accuracy)" if lack else ""
        text = f" (dense): no sparse variant within the other limits was measured{why}."
        return (head, Piece(text))
    text = f" (dense): no sparse variant both loses at most {limit} and is significantly better. "
    near = max(sparse, key=lambda one: one.chance)
    return (head, Piece(f"{text}The nearest: {near.candidate.name}, "), *_telling(near, answer))


def _not_shown(answer: Answer) -> Sentence:
    first = answer.open[0]
    needs = " and ".join(need_words(need) for need in answer.needs)
    show = f" To show it or rule it out: {needs}." if needs else ""
    until = "" if answer.dense is None else f" Until then: {answer.dense.name}."
    return (
        Piece("Not shown", True),
        Piece(": the likeliest is "),
        Piece(first.candidate.name, True),
        Piece(", "),
        *_telling(first, answer),
        Piece(show + until),
    )


def _telling(one: Standing, answer: Answer) -> Sentence:
    """Speed and accuracy of a variant, and what is shown of either."""
    limits = answer.limits
    told: list[Piece] = []
    if one.claim is not None:
        word = WORDS.get(one.claim.verdict, one.claim.verdict)
        low, high = one.claim.ratio.ci95 or (0.0, 2.0)
        word += (
            " after Holm's correction" if word == "inconclusive" and not low <= 1 <= high else ""
        )
        told += [*_speed(one.claim, one.candidate)]
        told.append(Piece(f" the speed of {_name(answer.hurdle)} ({word}), "))
    told += [Piece(f"{_word(one.candidate)} "), *_change(one.candidate)]
    loss = f"it loses at most {points(limits.max_accuracy_loss)} with probability "
    asked = "" if one.accuracy == "shown" else f", not {chance(limits.confidence)}"
    return (*told, Piece(f"; {loss}{odds(one)}{asked}."))


def _reasons(answer: Answer) -> list[str]:
    limits, reasons = answer.limits, []
    if answer.standings:
        best = max(answer.standings, key=lambda one: one.within or 0.0)
        loss = f"{-best.candidate.worst.evidence.change.mid:.1f}"
        reasons.append(f"the least loss is {loss} points ({best.candidate.name})")
    if answer.too_slow:
        best_time = min(answer.too_slow, key=lambda one: one.call_seconds(CALLS_WITHIN))
        took = milliseconds(best_time.call_seconds(CALLS_WITHIN))
        asked = f"(limit {milliseconds(limits.latency or 0.0)})"
        reasons.append(f"the quickest of those too slow needs {took} {asked}, {best_time.name}")
    if answer.unlicensed and not reasons:
        reasons.append("no engine that was measured may be used in production")
    return reasons


_TIES = ("Tied", "Inconclusive")


def _remarks(
    answer: Answer, production: Answer | None, parts: Sequence[Answer]
) -> Iterator[Sentence]:
    for head, kind in zip(_TIES, ("tied", "inconclusive"), strict=True):
        names = [one.name for one, word in answer.peers if word == kind]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        if names:
            listed = ", ".join(names[:MOST_NAMED])
            yield (Piece(head, True), Piece(f": against {listed}{more}."))
    if answer.fp32 is not None and answer.fp32.is_timed and answer.fp32 is not answer.hurdle:
        yield _best_fp32(answer.fp32, answer.over_fp32)
    second = answer.standing(answer.runner_up)
    dense = second is not None and second.candidate is answer.dense  # the headline has it
    if second is not None and answer.lead is not None and not dense:
        point, spread = numbers.ratio(answer.lead.ratio)
        text = f": {second.candidate.name}, "
        yield (
            Piece("Runner-up", True),
            Piece(text),
            *_brief(second),
            Piece(f" The first is {point} ({spread}) as fast."),
        )
    unsure, outside = answer.first("not shown"), answer.first("ruled out")
    if unsure is not None and (not answer.open or unsure is not answer.open[0]):
        text = f": {unsure.candidate.name} (probability {odds(unsure)}), "
        yield (Piece("Faster, not shown to be within", True), Piece(text), *_brief(unsure))
    if outside is not None:
        text = f": {outside.candidate.name}, "
        yield (Piece("Faster, but loses too much", True), Piece(text), *_brief(outside))
    if answer.take is not None and answer.take.facts.production is not True:
        yield _for_production(answer.take, production)
    best = most_accurate(answer.question)
    if best is not None:
        told = numbers.points(Delta(best[1].mid, best[1].interval()))
        mean, word = Piece(" ".join(told), True), WORDS.get(best[2], best[2])
        yield (Piece("Most accurate sparse", True), Piece(f": {best[0].name}, "), mean,
               Piece(f" points against dense, {word}."))  # fmt: skip
    if parts:
        each = "; ".join(f"{one.question.tasks[0]}: {_short(one)}" for one in parts)
        yield (Piece("Task by task", True), Piece(f": {each}."))


def _best_fp32(dense: Candidate, over: tuple[Candidate, Estimate] | None) -> Sentence:
    told = f": {dense.name}"
    if over is not None:
        point, spread = numbers.ratio(over[1])
        told += f"; {over[0].name} is {point} ({spread}) as fast as that"
    return (Piece("Best fp32 dense", True), Piece(f"{told}."))


def _for_production(take: Candidate, production: Answer | None) -> Sentence:
    head = Piece("For production", True)
    states = "does not say whether it allows" if take.facts.production is None else "forbids"
    why = f": the licence of this engine {states} that; "
    if production is None or production.take is None:
        rest = "nothing else that was measured fits"
        if production is not None and production.open and production.dense is not None:
            rest = f"another is not shown to be better than {production.dense.name}, dense"
        return (head, Piece(f"{why}{rest}."))
    standing = production.standing(production.take)
    assert standing is not None
    return (head, Piece(f"{why}take {production.take.name}, "), *_brief(standing))


def _brief(one: Standing) -> Sentence:
    """Its speed with its accuracy, never one without the other."""
    if one.claim is None:
        return (Piece("the best dense itself." if one.candidate.is_dense else "no dense fits."),)
    if one.candidate.is_dense:
        return (*_speed(one.claim, one.candidate), Piece(", dense."))
    return (*_speed(one.claim, one.candidate), Piece(f", {_word(one.candidate)} "),
            *_change(one.candidate),
            Piece("."))  # fmt: skip


def _short(answer: Answer) -> str:
    if answer.take is not None:
        return answer.take.name
    return f"not shown ({answer.open[0].candidate.name})" if answer.open else answer.kind


def _speed(claim: Claim, candidate: Candidate) -> Sentence:
    point, spread = numbers.ratio(claim.ratio)
    over = len(candidate.cells)
    mean = "" if over == 1 else f", geometric mean of {over} tasks"
    return (Piece(point, True), Piece(f" ({spread}{mean})"))


def _word(candidate: Candidate) -> str:
    return word_of(cell.record.task.metric for cell in candidate.cells.values())


def _change(candidate: Candidate) -> Sentence:
    worst = candidate.worst
    where = "" if len(candidate.cells) == 1 else f" at worst ({worst.record.task.name})"
    point, spread = numbers.points(
        Delta(worst.evidence.change.mid, worst.evidence.change.interval())
    )
    if spread == numbers.NO_INTERVAL:
        return (Piece(point, True), Piece(f" points{where} ({spread})"))
    return (Piece(f"{point} {spread}", True), Piece(f" points{where}"))


def _name(candidate: Candidate | None) -> str:
    return "" if candidate is None else candidate.name
