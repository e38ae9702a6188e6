"""Training and inference weighed together, for a model that is retrained in every period.

One machine trains and serves. In a period of P seconds, a training of T seconds leaves P - T for
inference, which at t seconds a picture serves

    served = (P - T) / t      pictures in a period,

so the best variant has the smallest t * P / (P - T), its effective seconds a picture; one with
T >= P cannot be had. A faster variant A that trains longer than B is ahead only for periods
above P* = (T_A * t_B - T_B * t_A) / (t_B - t_A), where both serve equally many.

A variant is a backbone with the engine it is served by; it is trained on the engine that trains
it fastest (their features agree: the verification gate checks it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.decide.candidates import Candidate
from sparsebench.bench.decide.choice import Choice, Limits, choose
from sparsebench.bench.decide.uncertain import Uncertain
from sparsebench.models.errors import SparsebenchError

PERIODS = {
    "hour": 3600.0,
    "day": 86400.0,
    "week": 7 * 86400.0,
    "month": 30 * 86400.0,
}
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Retraining:
    """The answer where a model is retrained in every period.

    Attributes:
        workload: how it is trained.
        period: seconds.
        choice: by served pictures; its candidates are inference cells.
        training: the training cell that goes with each inference cell, by record id.
        never: variants whose training does not fit in the period.
        overtaken: period in seconds at which winner and runner-up change places, where one exists.
    """

    workload: str
    period: float
    choice: Choice
    training: dict[str, Candidate]
    never: tuple[Candidate, ...]
    overtaken: float | None

    def served(self, candidate: Candidate) -> float:
        """Pictures served in a period."""
        spent = self.training[candidate.record.id].whole_seconds()
        return (self.period - spent) / candidate.seconds()


def weigh(
    inference: Sequence[Candidate],
    training: Sequence[Candidate],
    limits: Limits,
    period: float,
) -> Retraining:
    """The variant that serves most between two trainings.

    Args:
        inference: inference candidates of one batch size and task.
        training: candidates of one training workload on the same task.
        limits: of both; the loss that counts is that of the training workload.
        period: seconds between two trainings.
    """
    ways: dict[str, Candidate] = {}
    for one in inference:
        same = [
            other
            for other in training
            if other.record.backbone.name == one.record.backbone.name
            and limits.licensed(other)
            and limits.accurate(other)
        ]
        if same:
            ways[one.record.id] = min(same, key=Candidate.whole_seconds)

    def spent(one: Candidate) -> float:
        return ways[one.record.id].whole_seconds()

    def effective(one: Candidate) -> float:
        return one.seconds() * period / (period - spent(one))

    def over(one: Candidate, other: Candidate) -> Uncertain:
        """log of the pictures served by the other over those served by the one."""
        serving = one.log_time_over(other)
        left = math.log((period - spent(other)) / (period - spent(one)))
        shares = [spent(x) / (period - spent(x)) for x in (one, other)]
        total = Uncertain(serving.mid + left, serving.error, serving.degrees)
        for candidate, share in zip((one, other), shares, strict=True):
            known = ways[candidate.record.id].log_seconds()
            error = None if known.error is None else known.error * share
            total = total.minus(Uncertain(0.0, error, known.degrees))
        return total

    trained = [one for one in inference if one.record.id in ways]
    possible = [one for one in trained if spent(one) < period]
    choice = choose(possible, limits, cost=effective, faster=over)
    return Retraining(
        workload=training[0].record.workload if training else "",
        period=period,
        choice=choice,
        training=ways,
        never=tuple(one for one in trained if one not in possible),
        overtaken=_overtaken(choice, ways),
    )


def equal_period(t_a: float, train_a: float, t_b: float, train_b: float) -> float | None:
    """Period (s) at which two variants serve equally many; None where there is none.

    Args:
        t_a: seconds a picture of the one, and `t_b` of the other.
        train_a: seconds of training of the one, and `train_b` of the other.
    """
    if t_a == t_b:
        return None
    period = (train_a * t_b - train_b * t_a) / (t_b - t_a)
    return period if period > max(train_a, train_b) else None


def _overtaken(choice: Choice, ways: dict[str, Candidate]) -> float | None:
    a, b = choice.winner, choice.runner_up
    if a is None or b is None:
        return None
    trains = [ways[one.record.id].whole_seconds() for one in (a, b)]
    return equal_period(a.seconds(), trains[0], b.seconds(), trains[1])


def seconds_of(text: str, option: str) -> float:
    """Seconds of ``20ms``, ``1.5s``, ``6h``, ``day`` and the like.

    Raises:
        SparsebenchError: it is no positive time.
    """
    cleaned = text.strip().lower()
    if cleaned in PERIODS:
        return PERIODS[cleaned]
    number = cleaned.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = cleaned[len(number) :].strip()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    factor = _UNITS.get(unit, PERIODS.get(unit.removesuffix("s")))
    if factor is None or not 0 < value < math.inf:
        known = ", ".join(_UNITS)
        raise SparsebenchError(
            f"'{option} {text}' is no time.",
            f"Write a number with its unit ({known}), such as 20ms, or {', '.join(PERIODS)}.",
        )
    return value * factor
