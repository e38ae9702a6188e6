"""`sparsebench advise` in words that fit any width; nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from sparsebench.bench.decide import Advice, Candidate, Limits, Retraining
from sparsebench.bench.decide.advice import Advised
from sparsebench.bench.decide.answers import CALLS_WITHIN, INFERENCE
from sparsebench.bench.decide.flips import Flip
from sparsebench.bench.present import escape
from sparsebench.bench.present.decisions.amounts import milliseconds, odds, points
from sparsebench.bench.present.decisions.sentences import Said, Sentence, headline, said
from sparsebench.bench.present.table import DASH
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.resources import (
    disk_text,
    energy_of,
    energy_text,
    memory_text,
)

MEANING = (
    "An accuracy change is paired against the variant's dense baseline{reference}. 'Significantly "
    "better': faster than the best dense variant by more than the smallest effect of interest, "
    "corrected for every comparison of the run (Holm). 'Not shown': the measurements do not tell "
    "yet; counts of seeds and blocks are estimates. All of it speaks of this machine, these tasks "
    "and these test images."
)


def advice_text(advice: Advice) -> list[RenderableType]:
    """Everything that `answer_json.advice_json` says, in words.

    A text that must not be wrapped (a command to copy) has `no_wrap`.
    """
    parts: list[RenderableType] = []
    words = {one.answer.question: one for one in said(advice.study, advice.request.limits)}
    for one in advice.answers:
        parts += [Text(""), *_advised(one, words[one.answer.question])]
    for lacking in advice.missing:
        parts += [
            Text(""),
            Text(escape.visible(f"For {lacking.workload} on {lacking.task}"), style="bold"),
        ]
        parts += [_line(f"{lacking.reason} To measure it:")]
        parts.append(Text(f"    {escape.visible(lacking.measure)}", no_wrap=True))
    if advice.excluded:
        parts += [Text(""), Text("Not among the candidates:", style="bold")]
        parts += [_item(f"{name}: {reason}") for name, reason in _grouped(advice)]
    reference = advice.request.reference
    meaning = MEANING.format(reference=f", here {reference}" if reference else "")
    return [*parts, Text(""), Text(meaning, style="dim")]


def _advised(one: Advised, words: Said) -> Iterator[RenderableType]:
    limits = one.answer.limits
    title = escape.visible(f"For {words.title}, losing at most {points(limits.max_accuracy_loss)}")
    yield Text(title, style="bold")
    yield from _told(words)
    for candidate in filter(None, [one.answer.take or one.answer.dense]):
        yield from _facts(candidate, limits)
    yield from _left_out(one)
    if one.flips or one.same_batches or one.answer.question.workload == INFERENCE:
        yield _line("What would change the answer:")
        yield from _flips(one)
    for retrained in one.retraining:
        yield from _retraining(retrained)


def _told(words: Said) -> Iterator[RenderableType]:
    take = words.answer.take
    if take is not None:
        yield Text.assemble("  Take ", (take.name, "bold green"), ".")
    yield Padding(_text(words.headline), (0, 0, 0, 2))
    for remark in words.remarks:
        yield Padding(Text.assemble("- ", _text(remark)), (0, 0, 0, 4))


def _facts(one: Candidate, limits: Limits) -> Iterator[RenderableType]:
    yield _line(f"{one.name}:")
    if one.record.workload == INFERENCE:
        limit = "" if limits.latency is None else f" (limit {milliseconds(limits.latency)})"
        quick = milliseconds(one.call_seconds(CALLS_WITHIN))
        yield _item(f"speed: {numbers.significant(1 / one.seconds())} images/s")
        yield _item(
            f"a call: {milliseconds(one.whole_seconds())}, {CALLS_WITHIN:.0%} of the calls within "
            f"{quick}{limit}"
        )
    else:
        words = f"{numbers.significant(one.whole_seconds())} s for the whole job"
        yield _item(f"time: {words}, batch {one.batch_size}")
    told = one.record
    energy = energy_text(told) + " J/image" * (energy_of(told) is not None)
    peak = memory_text(told)
    memory = "not known" if peak == DASH else f"{peak} MB at its peak"
    yield _item(f"memory: {memory}; energy: {energy}")
    yield _item(f"on disk: {disk_text(told)}")
    facts = one.facts
    if facts.licence:
        yield _item(f"engine: {facts.licence}; {facts.support}")
    else:
        yield _item("engine: it does not say what its licence allows; read it")
    if limits.production and one.record.backbone.licence:
        yield _item(f"weights: {one.record.backbone.licence}")


def _left_out(one: Advised) -> Iterator[RenderableType]:
    by_engine: dict[str, list[Candidate]] = {}
    for candidate in one.answer.unlicensed:
        by_engine.setdefault(candidate.record.engine.name, []).append(candidate)
    for engine, cells in by_engine.items():
        count = "1 variant" if len(cells) == 1 else f"{len(cells)} variants"
        licence = cells[0].facts.licence or "its licence is not known here"
        yield _line(f"Left out for production: {engine}, {count} ({licence}).")


def _flips(one: Advised) -> Iterator[RenderableType]:
    for flip in one.flips:
        yield _item(f"{flip.when}: {_then(flip)}")
    if one.answer.question.workload != INFERENCE:
        return
    if one.same_batches:
        sizes = ", ".join(map(str, one.same_batches))
        yield _item(f"at batch size {sizes}: the same answer")
    if not one.same_batches and not any(flip.what == "batch size" for flip in one.flips):
        yield _item("no other batch size was measured, so what one would change is not known")


def _then(flip: Flip) -> str:
    return flip.answer.kind if flip.answer.take is None else flip.answer.take.name


def _retraining(found: Retraining) -> Iterator[RenderableType]:
    period, answer = _duration(found.period), found.answer
    yield Text("")
    yield Text(escape.visible(f"Retrained every {period} ({found.workload})"), style="bold")
    if answer.take is not None:
        yield Text.assemble("  Take ", (escape.visible(answer.take.name), "bold green"), ".")
        yield _item(_way(found, answer.take))
        taken = answer.standing(answer.take)
        if taken is not None:
            yield _item(f"within the limit with probability {odds(taken)}")
    elif answer.kind in ("none", "nothing fits"):
        yield _line("Nothing fits: no variant was trained, within the limits and the period.")
    else:
        yield Padding(_text(headline(answer)), (0, 0, 0, 2))
    if answer.runner_up is not None:
        yield _line(f"Runner-up: {answer.runner_up.name}; {_way(found, answer.runner_up)}.")
    if found.overtaken is not None:
        side = "below" if found.overtaken < found.period else "above"
        yield _line(
            f"Retrained every {_duration(found.overtaken)}, both serve equally many; {side} "
            "that the runner-up is ahead."
        )
    if found.never:
        names = ", ".join(one.name for one in found.never)
        yield _line(f"Training takes longer than {period}: {names}.")
    yield _line("(images served in a period P: (P - training time) / time of an image)")


def _way(found: Retraining, one: Candidate) -> str:
    training = found.training[one.record.id]
    return (
        f"{numbers.significant(found.served(one))} images served in a period; trained on "
        f"{training.record.engine.name} in {_duration(training.whole_seconds())}"
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = seconds / size
            if unit == "day":
                return "day" if count == 1 else f"{count:.3g} days"
            return f"{count:.3g} {unit}"
    return milliseconds(seconds)


def _grouped(advice: Advice) -> list[tuple[str, str]]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in advice.excluded:
        by_reason.setdefault(reason, []).append(name)
    return [
        (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", reason)
        for reason, names in by_reason.items()
    ]


def _text(sentence: Sentence) -> Text:
    return Text.assemble(
        *((_piece(piece.text), "bold" if piece.strong else "") for piece in sentence)
    )


def _piece(text: str) -> str:
    """A part of a sentence, which keeps the spaces at its ends."""
    start = " " * text.startswith(" ")
    return f"{start}{escape.visible(text).strip()}{' ' * text.endswith(' ')}"


def _line(text: str) -> RenderableType:
    return Padding(Text(escape.visible(text)), (0, 0, 0, 2))


def _item(text: str) -> RenderableType:
    return Padding(Text(escape.visible(f"- {text}")), (0, 0, 0, 4))
