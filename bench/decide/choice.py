"""The choice: the fastest variant within the limits, and how sure that is.

All probabilities are lower bounds by the union bound (Boole): with W the chosen variant,

    fastest >= 1 - sum over admitted X of P(X is faster than W)
    right   >= 1 - P(W loses too much) - sum over all other X of P(X loses little enough) *
               P(X is faster than W)

so `right` also counts that a faster variant which seems just outside the limit may lie within.
With two variants the first line is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsebench.bench.decide.candidates import INFERENCE, Candidate
from sparsebench.bench.decide.uncertain import Uncertain

CALLS_WITHIN = 0.95
"""Share of the measured calls that must keep a latency limit."""
Faster = Callable[[Candidate, Candidate], Uncertain]
Cost = Callable[[Candidate], float]


@dataclass(frozen=True)
class Limits:
    """What a deployer can accept.

    Attributes:
        max_accuracy_loss: points against the reference.
        latency: seconds that 95 % of the calls must keep; None without a limit; inference only.
        production: whether the engine's licence must allow production.
    """

    max_accuracy_loss: float = 0.5
    latency: float | None = None
    production: bool = False

    def licensed(self, candidate: Candidate) -> bool:
        """Whether its engine may be used."""
        return not self.production or candidate.facts.production is not False

    def in_time(self, candidate: Candidate) -> bool:
        """Whether 95 % of its calls keep the latency."""
        if self.latency is None or candidate.record.workload != INFERENCE:
            return True
        return candidate.call_seconds(CALLS_WITHIN) <= self.latency

    def accurate(self, candidate: Candidate) -> bool:
        """Whether its loss, as measured, is within the limit."""
        return candidate.loss.mid <= self.max_accuracy_loss


@dataclass(frozen=True)
class Confidence:
    """Probabilities, 0-1; None where one block or one seed says nothing of it.

    Attributes:
        fastest: at least this, that it is the fastest of the admitted ones.
        within: that its loss is within the limit.
        right: at least this, that it is the fastest of all that are truly within the limit.
        beats_runner_up: that it is faster than the runner-up.
    """

    fastest: float | None
    within: float | None
    right: float | None
    beats_runner_up: float | None


@dataclass(frozen=True)
class Choice:
    """The answer for one set of candidates.

    Attributes:
        winner: None where nothing fits.
        runner_up: the next fastest that fits.
        confidence: None without a winner.
        too_slow: fit but for the latency.
        too_inaccurate: fit but for the accuracy.
        unlicensed: left out because of their engines' licence.
    """

    winner: Candidate | None
    runner_up: Candidate | None
    confidence: Confidence | None
    too_slow: tuple[Candidate, ...]
    too_inaccurate: tuple[Candidate, ...]
    unlicensed: tuple[Candidate, ...]


def choose(
    found: Sequence[Candidate],
    limits: Limits,
    *,
    cost: Cost = Candidate.seconds,
    faster: Faster = Candidate.log_time_over,
) -> Choice:
    """The fastest candidate within the limits.

    Args:
        found: candidates of one workload, task and batch size.
        limits: what can be accepted.
        cost: what is to be small, seconds a picture by default.
        faster: logarithm of the first one's cost over the second one's.
    """
    licensed = [one for one in found if limits.licensed(one)]
    in_time = [one for one in licensed if limits.in_time(one)]
    order = sorted(in_time, key=cost)
    admitted = [one for one in order if limits.accurate(one)]
    winner = admitted[0] if admitted else None
    runner_up = admitted[1] if len(admitted) > 1 else None
    sure = None if winner is None else _confidence(winner, runner_up, order, limits, faster)
    return Choice(
        winner=winner,
        runner_up=runner_up,
        confidence=sure,
        too_slow=tuple(one for one in licensed if one not in in_time and limits.accurate(one)),
        too_inaccurate=tuple(one for one in order if not limits.accurate(one)),
        unlicensed=tuple(one for one in found if one not in licensed),
    )


def _confidence(
    winner: Candidate,
    runner_up: Candidate | None,
    order: Sequence[Candidate],
    limits: Limits,
    faster: Faster,
) -> Confidence:
    limit = limits.max_accuracy_loss
    within = winner.loss.at_most(limit)
    fastest: float | None = 1.0
    right: float | None = within
    for other in order:
        if other is winner:
            continue
        beaten = faster(other, winner).at_most(0)
        inside = other.loss.at_most(limit)
        if limits.accurate(other):
            fastest = None if fastest is None or beaten is None else fastest - beaten
        if right is None or beaten is None or inside is None:
            right = None
        else:
            right -= inside * beaten
    beats = None
    if runner_up is not None:
        beats = faster(winner, runner_up).at_most(0)
    return Confidence(_floor(fastest), within, _floor(right), beats)


def _floor(value: float | None) -> float | None:
    """Union bounds may fall below nothing."""
    return None if value is None else max(0.0, value)
