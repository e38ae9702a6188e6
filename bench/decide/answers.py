"""Questions, limits and answers: what :mod:`sparsebench.bench.decide.rule` decides about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sparsebench.bench.comparisons.family import Verdict
from sparsebench.bench.decide.candidates import Candidate
from sparsebench.bench.decide.evidence import Need, accuracy_need, blocks_need
from sparsebench.bench.decide.uncertain import Uncertain
from sparsebench.bench.records import Estimate
from sparsebench.bench.statistics import SMALLEST_EFFECT_OF_INTEREST
from sparsebench.bench.statistics.accuracy import refuse_loss
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS
from sparsebench.bench.workloads.inference import Inference
from sparsebench.models.errors import SparsebenchError

INFERENCE = Inference.name
CALLS_WITHIN = 0.95
"""Share of the measured calls that must keep a latency limit."""
Shown = Literal["shown", "not shown", "ruled out"]
Kind = Literal["sparse", "dense", "not shown", "nothing fits", "none"]


@dataclass(frozen=True)
class Limits:
    """What a deployer can accept.

    Attributes:
        max_accuracy_loss: points against the dense baseline.
        latency: seconds that 95 % of the calls must keep; None without a limit; inference only.
        production: whether the engine's licence must allow production, by its own statement.
        confidence: probability, 0.5-1, with which the accuracy limit must hold.

    Raises:
        SparsebenchError: a limit is no number that can be meant.
    """

    max_accuracy_loss: float = 0.5
    latency: float | None = None
    production: bool = False
    confidence: float = 0.95

    def __post_init__(self) -> None:
        refuse_loss(self.max_accuracy_loss)
        if self.latency is not None and not 0 < self.latency < math.inf:
            raise SparsebenchError(
                f"A latency of {self.latency:g} seconds cannot be asked for.",
                "Take more than 0 seconds, such as 0.02.",
            )
        if not 0.5 <= self.confidence < 1:
            raise SparsebenchError(
                f"A confidence of {self.confidence:g} cannot be asked for.",
                "Take a probability from 0.5 to below 1, such as 0.95.",
            )

    def licensed(self, candidate: Candidate) -> bool:
        """Whether its engine may be used."""
        return not self.production or candidate.facts.production is True

    def in_time(self, candidate: Candidate) -> bool:
        """Whether 95 % of its calls keep the latency."""
        if self.latency is None or candidate.record.workload != INFERENCE:
            return True
        return candidate.call_seconds(CALLS_WITHIN) <= self.latency

    def accurate(self, candidate: Candidate) -> Shown:
        """Whether its loss is within the limit."""
        within = candidate.loses_at_most(self.max_accuracy_loss)
        if within is None:
            return "not shown"
        if within[0] >= self.confidence:
            return "shown"
        return "ruled out" if within[1] <= 1 - self.confidence else "not shown"


@dataclass(frozen=True, eq=False)
class Question:
    """Which variant of a dense baseline, for one workload and one or several tasks?

    Attributes:
        runs: labels or paths of its runs.
        workload: of all cells.
        baseline: dense backbone that accuracy changes are against.
        tasks: all of them.
        whole: whether these are all tasks of the workload in the runs.
        batch_size: images of a call.
        settings: those that vary between the questions of the runs, in words.
        candidates: measured on every task.
        unmeasured: sparse variants that lack a time or an accuracy on a task.
    """

    runs: tuple[str, ...]
    workload: str
    baseline: str
    tasks: tuple[str, ...]
    whole: bool
    batch_size: int
    settings: str
    candidates: tuple[Candidate, ...]
    unmeasured: int = 0


@dataclass(frozen=True)
class Claim:
    """How a candidate's speed compares with that of another.

    Attributes:
        ratio: time of the other over its own.
        log: its logarithm.
        p: p-value of "no change" after Holm's correction.
        factor: what the correction multiplied it with.
        verdict: "better": significantly better.
    """

    ratio: Estimate
    log: Uncertain
    p: float
    factor: float
    verdict: Verdict

    @property
    def faster(self) -> float | None:
        """Probability that it is faster at all."""
        less = self.log.at_most(0.0)
        return None if less is None else 1 - less

    @property
    def gain(self) -> float | None:
        """Probability that it is faster by more than the smallest effect of interest."""
        less = self.log.at_most(math.log1p(SMALLEST_EFFECT_OF_INTEREST))
        return None if less is None else 1 - less


@dataclass(frozen=True)
class Standing:
    """A candidate that fits all limits but, perhaps, that of the accuracy.

    Attributes:
        candidate: the variant.
        odds: bounds of the probability that it loses no more than the limit, the same for a
            single task; None where nothing tells.
        accuracy: what follows from it.
        claim: its speed against the hurdle; None for that one, or where none fits.
    """

    candidate: Candidate
    odds: tuple[float, float] | None
    accuracy: Shown
    claim: Claim | None

    @property
    def within(self) -> float | None:
        """At least this probability that it loses no more than the limit."""
        return None if self.odds is None else self.odds[0]

    @property
    def is_shown(self) -> bool:
        """Whether it may be taken."""
        faster = self.claim is None or self.claim.verdict == "better"
        return self.accuracy == "shown" and self.candidate.is_timed and faster

    @property
    def chance(self) -> float:
        """At most this probability that it is within the limit and faster."""
        gain = 1.0 if self.claim is None or self.claim.gain is None else self.claim.gain
        return gain * (1.0 if self.odds is None else self.odds[1])


@dataclass(frozen=True)
class Answer:
    """The answer to a question within limits.

    Attributes:
        question: what was asked.
        limits: what can be accepted.
        kind: of answer; "none" where no variant has both a time and an accuracy.
        take: the variant to take; None unless `kind` is "sparse" or "dense".
        dense: the fastest dense one with an interval that is shown to be within the limits.
        hurdle: what every speed is against: the fastest dense one whose accuracy is not ruled out.
        fp32: the best dense one of those that compute in fp32; the hurdle where that one does.
        over_fp32: `take`, or the likeliest where nothing is taken, and its speed against `fp32`.
        standings: all that fit but for the accuracy, fastest first.
        runner_up: the next fastest that is accurate enough.
        lead: speed of `take` against the runner-up.
        peers: those accurate enough and not significantly slower than `take`, and the verdict.
        open: sparse ones that are neither shown nor ruled out, the likeliest first, or the hurdle,
            or all where none has an interval; only where they are why nothing is shown.
        too_slow: fit but for the latency.
        unlicensed: left out because of their engines' licence.
    """

    question: Question
    limits: Limits
    kind: Kind
    take: Candidate | None = None
    dense: Candidate | None = None
    hurdle: Candidate | None = None
    fp32: Candidate | None = None
    over_fp32: tuple[Candidate, Estimate] | None = None
    standings: tuple[Standing, ...] = ()
    runner_up: Candidate | None = None
    lead: Claim | None = None
    peers: tuple[tuple[Candidate, Verdict], ...] = ()
    open: tuple[Standing, ...] = ()
    too_slow: tuple[Candidate, ...] = ()
    unlicensed: tuple[Candidate, ...] = ()

    @property
    def best_dense(self) -> Candidate | None:
        """The hurdle; None where its times have no interval, for then it is only a reference."""
        return self.hurdle if self.hurdle is not None and self.hurdle.is_timed else None

    def standing(self, candidate: Candidate | None) -> Standing | None:
        """That of one of its candidates."""
        return next((one for one in self.standings if one.candidate is candidate), None)

    def first(self, accuracy: Shown, *, faster: bool = True) -> Standing | None:
        """The fastest sparse one with that accuracy; only ones faster than what is taken."""
        than = self.take or self.dense
        if faster and than is None and self.kind == "not shown":
            return None  # nothing has an interval to be faster than
        for one in self.standings:
            if faster and one.candidate is than:
                return None
            if one.accuracy == accuracy and not one.candidate.is_dense:
                return one
        return None

    @property
    def needs(self) -> tuple[Need, ...]:
        """What would show whether the likeliest open variant is to be taken; empty if shown."""
        if not self.open:
            return ()
        first, found = self.open[0], []
        if first.accuracy != "shown":
            limit, tasks = self.limits.max_accuracy_loss, len(self.question.tasks)
            confidence = 1 - (1 - self.limits.confidence) / tasks  # Boole: together as asked
            each = [
                accuracy_need(one.evidence, limit, confidence)
                for one in first.candidate.cells.values()
            ]
            found.append(max(each, key=lambda need: need.about or math.inf))
        claim = first.claim
        if claim is not None and claim.verdict == "inconclusive":
            found.append(blocks_need(claim.log, claim.ratio.blocks, claim.factor))
        elif not first.candidate.is_timed:
            fewest = min(len(cell.times.blocks) for cell in first.candidate.cells.values())
            found.append(Need("blocks", fewest, LEAST_BLOCKS))
        return tuple(found)
