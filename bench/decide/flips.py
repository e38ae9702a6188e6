"""What would change the answer: the limits and batch sizes at which another variant wins.

Found among the measured cells only, from their points; between two measured batch sizes nothing
is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsebench.bench.decide.candidates import INFERENCE, Candidate
from sparsebench.bench.decide.choice import CALLS_WITHIN, Choice, Cost, Limits, choose


@dataclass(frozen=True)
class Flip:
    """One change of circumstances and the answer under it.

    Attributes:
        what: "accuracy", "latency", "batch size", "production" or "retraining".
        when: the circumstance in words.
        value: its number (points, seconds, pictures), None where it has none.
        winner: the variant then; None where nothing fits then.
    """

    what: str
    when: str
    value: float | None
    winner: Candidate | None


def accuracy_flips(
    found: Sequence[Candidate], limits: Limits, winner: Candidate | None, cost: Cost
) -> list[Flip]:
    """The next looser limit with a faster variant, and the tighter one that loses the winner."""
    usable = [one for one in found if limits.licensed(one) and limits.in_time(one)]
    flips = []
    better = [
        one
        for one in usable
        if not limits.accurate(one) and (winner is None or cost(one) < cost(winner))
    ]
    if better:
        first = min(better, key=lambda one: (one.loss.mid, cost(one)))
        value = first.loss.mid
        flips.append(Flip("accuracy", f"from {value:.2f} points of loss on", value, first))
    if winner is not None:
        value = winner.loss.mid
        rest = [one for one in usable if one.loss.mid < value]
        if rest or value > 0:
            other = min(rest, key=cost, default=None)
            if value >= 0:
                words = f"below {value:.2f} points of loss"
            else:
                words = f"if a gain of more than {-value:.2f} points is asked for"
            flips.append(Flip("accuracy", words, value, other))
    return flips


def latency_flips(
    found: Sequence[Candidate], limits: Limits, winner: Candidate | None
) -> list[Flip]:
    """The latency at which the winner drops out, or from which on something (faster) fits."""
    accurate = [
        one
        for one in found
        if one.record.workload == INFERENCE and limits.licensed(one) and limits.accurate(one)
    ]
    flips = []
    if winner is not None and winner in accurate:
        ceiling = winner.call_seconds(CALLS_WITHIN)
        others = [one for one in accurate if one.call_seconds(CALLS_WITHIN) < ceiling]
        other = min(others, key=Candidate.seconds, default=None)
        words = f"under a latency limit below {1000 * ceiling:.3g} ms"
        flips.append(Flip("latency", words, ceiling, other))
    late = [
        one
        for one in accurate
        if not limits.in_time(one) and (winner is None or one.seconds() < winner.seconds())
    ]
    if late:
        first = min(late, key=lambda one: one.call_seconds(CALLS_WITHIN))
        ceiling = first.call_seconds(CALLS_WITHIN)
        words = f"under a latency limit of {1000 * ceiling:.3g} ms or more"
        flips.append(Flip("latency", words, ceiling, first))
    return flips


def batch_flips(
    found: Sequence[Candidate], limits: Limits, batch_size: int, winner: Candidate | None
) -> tuple[list[Flip], list[int]]:
    """Measured batch sizes with another answer, and those with the same.

    Args:
        found: inference candidates of all batch sizes.
        limits: as asked for.
        batch_size: asked for.
        winner: there.
    """
    flips, same = [], []
    for size in sorted({one.batch_size for one in found} - {batch_size}):
        chosen = choose([one for one in found if one.batch_size == size], limits).winner
        if chosen is not None and winner is not None and _same_variant(chosen, winner):
            same.append(size)
        else:
            flips.append(Flip("batch size", f"at batch size {size}", size, chosen))
    return flips, same


def production_flip(
    found: Sequence[Candidate], limits: Limits, choice: Choice, cost: Cost
) -> list[Flip]:
    """The answer under --production, where it is another."""
    winner = choice.winner
    if limits.production or winner is None or winner.facts.production is not False:
        return []
    licensed = choose(found, replace(limits, production=True), cost=cost)
    return [Flip("production", "under --production", None, licensed.winner)]


def _same_variant(one: Candidate, other: Candidate) -> bool:
    return one.name == other.name
