"""What would change the answer: the limits and batch sizes at which another variant is taken.

Each is an answer by the same rule under other limits, among the measured cells only; between two
measured batch sizes nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sparsebench.bench.decide.answers import CALLS_WITHIN, INFERENCE, Answer, Limits
from sparsebench.bench.decide.candidates import Candidate

Again = Callable[[Limits], Answer]
"""The answer to the same question within other limits."""
STEP = 0.01  # points


@dataclass(frozen=True)
class Flip:
    """One change of circumstances and the answer under it.

    Attributes:
        what: "accuracy", "latency", "batch size" or "production".
        when: the circumstance in words.
        value: its number (points, seconds, images), None where it has none.
        answer: under it.
    """

    what: str
    when: str
    value: float | None
    answer: Answer


def flips_of(
    answer: Answer, again: Again, batches: Sequence[Answer]
) -> tuple[list[Flip], list[int]]:
    """What changes the answer, and the batch sizes that do not.

    Args:
        answer: to the question as asked.
        again: answers it within other limits.
        batches: answers to the question at other measured batch sizes.
    """
    flips = [*_accuracy(answer, again), *_production(answer, again), *_latency(answer, again)]
    same = []
    for other in sorted(batches, key=lambda one: one.question.batch_size):
        size = other.question.batch_size
        if _same(other, answer):
            same.append(size)
        else:
            flips.append(Flip("batch size", f"at batch size {size}", size, other))
    return flips, same


def shown_from(candidate: Candidate, confidence: float) -> float | None:
    """The least limit, in points and 0 or more, that a candidate is shown to keep; else None."""

    def shown(points: float) -> bool:
        within = candidate.loses_at_most(points)
        return within is not None and within[0] >= confidence

    if not shown(100.0):
        return None
    low, high = 0, round(100 / STEP)
    while low < high:  # in whole steps, so that the limit that is printed is one that holds
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle * STEP) else (middle + 1, high)
    return low * STEP


def _accuracy(answer: Answer, again: Again) -> Iterator[Flip]:
    """The next looser limit with another answer, and the tighter one that loses this one."""
    limits = answer.limits
    runners = [one.candidate for one in answer.standings if not one.candidate.is_dense]
    ends = {one: shown_from(one, limits.confidence) for one in runners}
    for end in sorted({end for end in ends.values() if end is not None}):
        if end > limits.max_accuracy_loss:
            other = again(replace(limits, max_accuracy_loss=end))
            if other.take is not None and not _same(other, answer):
                yield Flip("accuracy", f"from {end:.2f} points of loss on", end, other)
                break
    own = None if answer.take is None else ends.get(answer.take)
    if own:
        other = again(replace(limits, max_accuracy_loss=max(0.0, own - STEP)))
        yield Flip("accuracy", f"below {own:.2f} points of loss", own, other)


def _production(answer: Answer, again: Again) -> Iterator[Flip]:
    """The answer under --production, where it is another."""
    take = answer.take
    if take is None or answer.limits.licensed(take) is False or take.facts.production is True:
        return
    other = again(replace(answer.limits, production=True))
    yield Flip("production", "under --production", None, other)


def _latency(answer: Answer, again: Again) -> Iterator[Flip]:
    """The latency at which it drops out, or from which on something faster fits."""
    if answer.question.workload != INFERENCE:
        return
    limits, take = answer.limits, answer.take
    if take is not None:
        ceiling = take.call_seconds(CALLS_WITHIN)
        other = again(replace(limits, latency=math.nextafter(ceiling, 0)))
        yield Flip(
            "latency", f"under a latency limit below {1000 * ceiling:.3g} ms", ceiling, other
        )
    for ceiling in sorted(one.call_seconds(CALLS_WITHIN) for one in answer.too_slow):
        other = again(replace(limits, latency=ceiling))
        if other.take is not None and not _same(other, answer):
            words = f"under a latency limit of {1000 * ceiling:.3g} ms or more"
            yield Flip("latency", words, ceiling, other)
            return


def _same(one: Answer, other: Answer) -> bool:
    names = [None if x.take is None else x.take.name for x in (one, other)]
    return one.kind == other.kind and names[0] == names[1]
