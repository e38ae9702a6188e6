"""Training and inference weighed together, for a model that is retrained in every period.

One machine trains and serves. In a period of P seconds, a training of T seconds leaves P - T for
inference, which at t seconds an image serves

    served = (P - T) / t      images in a period,

so the best variant has the smallest t * P / (P - T), its effective seconds an image; one with
T >= P cannot be had. A faster variant A that trains longer than B is ahead only for periods
above P* = (T_A * t_B - T_B * t_A) / (t_B - t_A), where both serve equally many.

A variant is a backbone with the engine it is served by; it is trained on the engine that trains
it fastest (their features agree: the verification gate checks it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsebench.bench.decide.answers import Answer, Limits, Question
from sparsebench.bench.decide.candidates import Candidate
from sparsebench.bench.decide.rule import Race, Ratio, judge
from sparsebench.bench.decide.uncertain import Uncertain, combined
from sparsebench.bench.records import Estimate
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
        answer: by served images; its candidates are inference cells, with the accuracy of the
            training that goes with each.
        training: the training cell that goes with each inference cell, by record id.
        never: variants whose training does not fit in the period.
        overtaken: period in seconds at which winner and runner-up change places, where one exists.
    """

    workload: str
    period: float
    answer: Answer
    training: dict[str, Candidate]
    never: tuple[Candidate, ...]
    overtaken: float | None

    def served(self, candidate: Candidate) -> float:
        """Images served in a period."""
        spent = self.training[candidate.record.id].whole_seconds()
        return (self.period - spent) / candidate.seconds()


def weigh(
    question: Question,
    training: Sequence[Candidate],
    limits: Limits,
    period: float,
) -> Retraining:
    """The variant that serves most between two trainings.

    Args:
        question: of inference, on one task.
        training: candidates of one training workload on the same task.
        limits: of both; the accuracy that counts is that of the training workload.
        period: seconds between two trainings.
    """
    ways: dict[str, Candidate] = {}
    trained = []
    for one in question.candidates:
        same = [
            other
            for other in training
            if other.record.backbone.name == one.record.backbone.name and limits.licensed(other)
        ]
        if same:
            way = ways[one.record.id] = min(same, key=Candidate.whole_seconds)
            cells = {
                task: replace(cell, evidence=way.cells[task].evidence)
                for task, cell in one.cells.items()
            }
            trained.append(replace(one, cells=cells))

    def spent(one: Candidate) -> float:
        return ways[one.record.id].whole_seconds()

    def effective(one: Candidate) -> float:
        return one.seconds() * period / (period - spent(one))

    def served(one: Candidate, than: Candidate) -> Ratio:
        """Images served by the one over those served by the other."""
        ratio, serving = one.time_of(than)
        left = math.log((period - spent(one)) / (period - spent(than)))
        parts = [(1.0, serving)]
        for candidate in (one, than):
            share = spent(candidate) / (period - spent(candidate))
            known = next(iter(ways[candidate.record.id].cells.values())).log_seconds
            parts.append((share, Uncertain(0.0, known.error, known.degrees)))
        total = combined(parts)
        total = Uncertain(total.mid + left, total.error, total.degrees)
        ends = total.interval()
        both = None if ends is None else (math.exp(ends[0]), math.exp(min(ends[1], 100.0)))
        return Estimate(math.exp(total.mid), both, ratio.blocks), total

    possible = tuple(one for one in trained if spent(one) < period)
    answer = judge(Race(replace(question, candidates=possible), limits, served, effective))
    return Retraining(
        workload=training[0].record.workload,
        period=period,
        answer=answer,
        training=ways,
        never=tuple(one for one in trained if one not in possible),
        overtaken=_overtaken(answer, ways),
    )


def equal_period(t_a: float, train_a: float, t_b: float, train_b: float) -> float | None:
    """Period (s) at which two variants serve equally many; None where there is none.

    Args:
        t_a: seconds an image of the one, and `t_b` of the other.
        train_a: seconds of training of the one, and `train_b` of the other.
    """
    if t_a == t_b:
        return None
    period = (train_a * t_b - train_b * t_a) / (t_b - t_a)
    return period if period > max(train_a, train_b) else None


def _overtaken(answer: Answer, ways: dict[str, Candidate]) -> float | None:
    a, b = answer.take, answer.runner_up
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
            f"'{option} {text}' is not a valid time.",
            f"Write a number with its unit ({known}), such as 20ms, or {', '.join(PERIODS)}.",
        )
    return value * factor
