"""Advice in words, for the terminal. Wraps at any width; nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from sparsebench.bench.decide.advise import FULL, LINEAR, Advice, Answer
from sparsebench.bench.decide.candidates import INFERENCE, Candidate
from sparsebench.bench.decide.choice import CALLS_WITHIN, Choice, Confidence, Limits
from sparsebench.bench.decide.facts import interval, ratio
from sparsebench.bench.decide.flips import Flip
from sparsebench.bench.decide.retraining import Retraining
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.records import Delta, Estimate

SURE = 0.95
MEANING = (
    "What the numbers mean: '{within}' is the probability that the true loss is at most the limit "
    "(Student's t over training seeds); 'right choice' is the least probability that this is the "
    "fastest of all variants that truly lose no more (t over blocks, losses and times together, "
    "union bound over the other variants). Both speak of this machine, this task and these test "
    "pictures. Losses are against the most accurate dense backbone of the workload, paired by "
    "seed, unless --reference names another."
)


def advice_text(advice: Advice) -> list[RenderableType]:
    """Everything that `facts.advice_json` says, in words.

    A text that must not be wrapped (a command to copy) has `no_wrap`.
    """
    parts: list[RenderableType] = []
    limits = advice.question.limits
    for answer in advice.answers:
        parts += [Text(""), *_answer(answer, limits)]
    if advice.excluded:
        parts += [Text(""), Text("Not among the candidates:", style="bold")]
        parts += [_item(f"{name}: {reason}") for name, reason in _grouped(advice)]
    within = f"within {limits.max_accuracy_loss:g}"
    parts += [Text(""), Text(MEANING.format(within=within), style="dim")]
    return parts


def _answer(answer: Answer, limits: Limits) -> Iterator[RenderableType]:
    yield Text(escape.visible(_title(answer)), style="bold")
    choice = answer.choice
    if choice is None:
        yield _line(answer.unmeasured)
        yield _line("To measure it:")
        yield Text(f"    {escape.visible(answer.measure)}", no_wrap=True)
        return
    if choice.winner is None:
        yield _line(f"Nothing fits: {_nothing(choice, limits)}")
    else:
        yield Text.assemble("  Take ", (escape.visible(choice.winner.name), "bold green"), ".")
        yield Group(*_facts(choice.winner, answer.dense, limits))
        yield from _sureness(choice, limits)
    yield from _left_out(choice)
    if answer.flips or answer.same_batches or answer.workload == INFERENCE:
        yield _line("What would change the answer:")
        yield from _flips(answer)
    for one in answer.retraining:
        yield from _retraining(one)


def _title(answer: Answer) -> str:
    what = {**dict.fromkeys(LINEAR, "linear fine-tuning"), FULL: "full fine-tuning"}
    words = what.get(answer.workload, answer.workload)
    named = f" ({answer.workload})" if answer.workload in LINEAR else ""
    batch = "" if answer.batch_size is None else f", batch {answer.batch_size}"
    return f"For {words}{named} on {answer.task}{batch}"


def _facts(one: Candidate, dense: Candidate | None, limits: Limits) -> Iterator[RenderableType]:
    if one.record.workload == INFERENCE:
        yield _line(f"speed: {numbers.significant(1 / one.seconds())} pictures/s", 4)
        yield _line(
            f"a call: {_ms(one.whole_seconds())}, {CALLS_WITHIN:.0%} of the calls within "
            f"{_ms(one.call_seconds(CALLS_WITHIN))}" + _limit(limits),
            4,
        )
    else:
        words = f"{numbers.significant(one.whole_seconds())} s for the whole job"
        yield _line(f"time: {words}, batch {one.batch_size}", 4)
    if dense is not None and dense is not one:
        yield _line(f"against the fastest dense one, {dense.name}: {_ratio(one, dense)}", 4)
    yield _line(f"accuracy: {_loss(one)}", 4)
    facts = one.facts
    if facts.licence:
        yield _line(f"engine: {facts.licence}; {facts.support}", 4)
    else:
        yield _line("engine: it does not say what its licence allows; read it", 4)
    if limits.production and one.record.backbone.licence:
        yield _line(f"weights: {one.record.backbone.licence}", 4)


def _sureness(choice: Choice, limits: Limits) -> Iterator[RenderableType]:
    sure = choice.confidence
    assert sure is not None
    within = f"within {limits.max_accuracy_loss:g} points {_chance(sure.within)}"
    text = f"confidence: right choice {_chance(sure.right, least=True)}; {within}"
    yield _line(text, 4)
    second = choice.runner_up
    if second is None:
        yield _line("Runner-up: none; no other variant fits.")
    else:
        assert choice.winner is not None
        yield _line(
            f"Runner-up: {second.name}; the first is {_ratio(choice.winner, second)} as fast "
            f"(faster {_chance(sure.beats_runner_up)}). Its accuracy: {_loss(second)}."
        )
    yield from _doubts(choice, sure, limits)


def _doubts(choice: Choice, sure: Confidence, limits: Limits) -> Iterator[RenderableType]:
    if sure.right is None:
        yield _line(
            "One block or one seed tells no probability: measure with --repeats 3 or more and "
            "three seeds or more."
        )
        return
    if sure.beats_runner_up is not None and sure.beats_runner_up < SURE:
        yield _line("The two are not told apart: more blocks (--repeats) would, or take either.")
    if sure.within is not None and sure.within < SURE:
        yield _line("The loss is close to the limit: more seeds (--seed) would tell.")
    for one in choice.too_inaccurate:
        inside = one.loss.at_most(limits.max_accuracy_loss)
        assert choice.winner is not None
        if inside is not None and inside > 1 - SURE and one.seconds() < choice.winner.seconds():
            yield _line(f"{one.name} is faster and may be within the limit: {_chance(inside)}.")


def _nothing(choice: Choice, limits: Limits) -> str:
    reasons = []
    if choice.too_inaccurate:
        best = min(choice.too_inaccurate, key=lambda one: one.loss.mid)
        reasons.append(
            f"the least loss is {best.loss.mid:.1f} points ({best.name}), "
            f"not {limits.max_accuracy_loss:g}"
        )
    if choice.too_slow:
        best = min(choice.too_slow, key=lambda one: one.call_seconds(CALLS_WITHIN))
        reasons.append(
            f"the quickest that is accurate enough needs {_ms(best.call_seconds(CALLS_WITHIN))} "
            f"({best.name}){_limit(limits)}"
        )
    if choice.unlicensed and not reasons:
        reasons.append("no engine that was measured may be used in production")
    return "; ".join(reasons) + "."


def _left_out(choice: Choice) -> Iterator[RenderableType]:
    by_engine: dict[str, list[Candidate]] = {}
    for one in choice.unlicensed:
        by_engine.setdefault(one.record.engine.name, []).append(one)
    for engine, cells in by_engine.items():
        count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        yield _line(f"Left out for production: {engine}, {count} ({cells[0].facts.licence}).")


def _flips(answer: Answer) -> Iterator[RenderableType]:
    for flip in answer.flips:
        yield _item(f"{flip.when}: {_then(flip)}")
    if answer.workload != INFERENCE:
        return
    if answer.same_batches:
        sizes = ", ".join(map(str, answer.same_batches))
        yield _item(f"at batch size {sizes}: the same answer")
    if not answer.same_batches and not any(flip.what == "batch size" for flip in answer.flips):
        yield _item("no other batch size was measured, so what one would change is not known")


def _then(flip: Flip) -> str:
    return "nothing that was measured fits" if flip.winner is None else flip.winner.name


def _retraining(found: Retraining) -> Iterator[RenderableType]:
    period = _duration(found.period)
    yield Text("")
    yield Text(escape.visible(f"Retrained every {period} ({found.workload})"), style="bold")
    winner = found.choice.winner
    if winner is None:
        yield _line("Nothing fits: no variant was trained, within the limits and the period.")
    else:
        yield Text.assemble("  Take ", (escape.visible(winner.name), "bold green"), ".")
        yield _line(_way(found, winner), 4)
        sure = found.choice.confidence
        assert sure is not None
        yield _line(f"confidence: right choice {_chance(sure.right, least=True)}", 4)
        second = found.choice.runner_up
        if second is not None:
            yield _line(f"Runner-up: {second.name}; {_way(found, second)}.")
        if found.overtaken is not None:
            side = "below" if found.overtaken < found.period else "above"
            yield _line(
                f"Retrained every {_duration(found.overtaken)}, both serve equally many; {side} "
                "that the runner-up is ahead."
            )
    if found.never:
        names = ", ".join(one.name for one in found.never)
        yield _line(f"Training takes longer than {period}: {names}.")
    yield _line("(pictures served in a period P: (P - training time) / time of a picture)")


def _way(found: Retraining, one: Candidate) -> str:
    training = found.training[one.record.id]
    return (
        f"{numbers.significant(found.served(one))} pictures served in a period; trained on "
        f"{training.record.engine.name} in {_duration(training.whole_seconds())}"
    )


def _loss(one: Candidate) -> str:
    ends = interval(one.loss)
    if one.loss.degrees == float("inf") and one.loss.mid == 0:
        return "the reference itself"
    change = Delta(-one.loss.mid, None if ends is None else (-ends[1], -ends[0]))
    return " ".join(numbers.points(change)) + " points"


def _ratio(one: Candidate, over: Candidate) -> str:
    point, ends = ratio(one, over)
    words = numbers.ratio(Estimate(point, ends, 0))
    return f"{words[0]} ({words[1]})"


def _chance(value: float | None, least: bool = False) -> str:
    if value is None:
        return "unknown"
    if value > 0.999:
        return "over 99.9 %"
    if value < 0.001:
        return "at least 0 %" if least else "below 0.1 %"
    return f"{'at least ' if least else ''}{100 * value:.3g} %"


def _limit(limits: Limits) -> str:
    return "" if limits.latency is None else f" (limit {_ms(limits.latency)})"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = seconds / size
            if unit == "day":
                return "day" if count == 1 else f"{count:.3g} days"
            return f"{count:.3g} {unit}"
    return _ms(seconds)


def _grouped(advice: Advice) -> list[tuple[str, str]]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in advice.excluded:
        by_reason.setdefault(reason, []).append(name)
    return [
        (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", reason)
        for reason, names in by_reason.items()
    ]


def _line(text: str, indent: int = 2) -> RenderableType:
    return Padding(Text(escape.visible(text)), (0, 0, 0, indent))


def _item(text: str) -> RenderableType:
    return Padding(Text(escape.visible(f"- {text}")), (0, 0, 0, 4))
