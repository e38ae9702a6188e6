"""The one rule by which the suite says which variant to take.

*Accuracy*: a variant may be taken where its accuracy change against its dense baseline (paired,
the tables' "change") stays within the limit with a stated probability, 95 % unless asked
otherwise; over several tasks on all of them together (Boole's bound). It is *ruled out* where the
limit is broken with that probability, on one task at least, and else *not shown*.

*Speed*: a sparse variant is taken where it is significantly better than the best dense one (the
hurdle), the fastest dense cell of any engine and precision: the tables' "best dense", unless its
licence, its latency or its accuracy is ruled out; that its accuracy is not shown to be within the
limit does not lower the hurdle. The ratio, corrected for
every comparison of the run (Holm), excludes 1 and exceeds the smallest effect of interest
(`sparsebench.bench.comparisons.family`). Ratios over several tasks are a family of their own.

*Answer*: the fastest variant that is shown in both is taken ("sparse"). Where there is none, the
fastest dense one that is shown to be accurate is ("dense"), if every sparse variant can be ruled
out: the probability that it is within the limit and faster by more than the smallest effect is at
most 5 %. Else nothing is recommended ("not shown"): `Answer.needs` names what would show it; nor
where a sparse variant would be taken but for a hurdle whose accuracy is open. Where no dense
variant fits the limits, the fastest one that is shown to be accurate is taken; where nothing fits
at all, the answer is "nothing fits".

*Too few blocks*: a variant whose times have no interval on some task (fewer than three blocks) is
never taken and never the best dense one. Where no dense variant has an interval, ratios refer to
the fastest by its point, and nothing is shown.

*Ties*: of the variants that are accurate enough, those that are not significantly slower than the
one taken (Holm over them) are named with it, *tied* or *inconclusive*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sparsebench.bench.comparisons.dense import REFERENCE_PRECISION
from sparsebench.bench.comparisons.family import Verdict, corrected_verdict
from sparsebench.bench.decide.answers import Answer, Claim, Kind, Limits, Question, Standing
from sparsebench.bench.decide.candidates import Candidate
from sparsebench.bench.decide.uncertain import Uncertain, combined
from sparsebench.bench.records import Estimate
from sparsebench.bench.statistics import FAMILY_ERROR, holm

Ratio = tuple[Estimate, Uncertain]
Ratios = Callable[[Candidate, Candidate], Ratio]
"""How many times as fast the first one is as the second, and the logarithm of it."""
Cost = Callable[[Candidate], float]
_TIES = ("tied", "inconclusive")


class Race:
    """Who competes for an answer: what :func:`judge` needs beside the p-values of the family.

    Args:
        question: with all its candidates.
        limits: what can be accepted.
        ratios: how many times as fast the first is as the second.
        cost: what is to be small, seconds an image by default.

    Attributes:
        runners: those that fit but, perhaps, for the accuracy: the fastest first, those without
            an interval after the others.
        hurdle: the fastest dense one whose accuracy is not ruled out.
        fp32: the same, of those that compute in fp32.
        dense: the fastest dense one with an interval that is shown to be accurate enough.
        tests: sparse runner -> its ratio to the hurdle; empty where there is none.
    """

    def __init__(
        self,
        question: Question,
        limits: Limits,
        ratios: Ratios = Candidate.time_of,
        cost: Cost = Candidate.seconds,
    ) -> None:
        self.question, self.limits, self.ratios = question, limits, ratios
        licensed = [one for one in question.candidates if limits.licensed(one)]
        self.runners = sorted(
            (one for one in licensed if limits.in_time(one)),
            key=lambda one: (not one.is_timed, cost(one)),
        )
        self.too_slow = tuple(one for one in licensed if one not in self.runners)
        self.unlicensed = tuple(one for one in question.candidates if one not in licensed)
        self.accuracy = {one: limits.accurate(one) for one in self.runners}
        dense = [one for one in self.runners if one.is_dense]
        open_ones = [one for one in dense if self.accuracy[one] != "ruled out"]
        self.hurdle = next(iter(open_ones), None)
        self.fp32 = next(
            (one for one in open_ones if one.record.engine.precision == REFERENCE_PRECISION), None
        )
        self.dense = next(
            (one for one in dense if self.accuracy[one] == "shown" and one.is_timed), None
        )
        self.tests: dict[Candidate, Ratio] = {}
        if self.hurdle is not None:
            sparse = (one for one in self.runners if not one.is_dense)
            self.tests = {one: ratios(one, self.hurdle) for one in sparse}


def p_value(log: Uncertain) -> float:
    """Two-sided p-value of "the ratio is 1"; 1 where there is no spread to judge by."""
    below = log.at_most(0.0)
    if below is None or log.error == 0 == log.mid:
        return 1.0
    return min(1.0, 2 * min(below, 1 - below))


def judge(race: Race, corrected: Mapping[Candidate, float] | None = None) -> Answer:
    """The answer, by the rule of this module's text.

    Args:
        race: who competes.
        corrected: p-value of each of its tests after Holm's correction over their family; by
            default they are the whole family.
    """
    limits, dense, hurdle = race.limits, race.dense, race.hurdle
    claims = _claims(race.tests, corrected)
    if hurdle is not None:  # no part of the family: they say which dense one is the best
        rest = [one for one in race.runners if one.is_dense and one is not hurdle]
        claims |= _claims({one: race.ratios(one, hurdle) for one in rest})
    standings = tuple(
        Standing(
            one, one.loses_at_most(limits.max_accuracy_loss), race.accuracy[one], claims.get(one)
        )
        for one in race.runners
    )
    sparse = [one for one in standings if not one.candidate.is_dense]
    accurate = [one.candidate for one in standings if one.accuracy == "shown"]
    best = next((one.candidate for one in sparse if one.is_shown), None)
    unsure = [one for one in sparse if not one.is_shown and one.chance > 1 - limits.confidence]
    if best is None and not unsure and dense is not None and dense is not hurdle:
        within = [one.candidate for one in sparse if one.accuracy == "shown"]
        against = _claims({one: race.ratios(one, dense) for one in within})
        if any(claim.verdict == "better" for claim in against.values()):
            unsure = [one for one in standings if one.candidate is hurdle]
    if best is None and not unsure and dense is None:
        unsure = [o for o in standings if not o.candidate.is_timed and o.accuracy != "ruled out"]
    kind: Kind
    if not race.question.candidates:
        kind = "none"
    elif best is not None:
        kind = "sparse"
    elif unsure:
        kind = "not shown"
    else:
        kind = "nothing fits" if dense is None else "dense"
    take = {"sparse": best, "dense": dense}.get(kind)
    others = [one for one in accurate if one is not take]
    lead = _claims({one: race.ratios(take, one) for one in others}) if take else {}
    runner_up = next((one for one in others if one.is_timed), None) if take else None
    # Where nothing tells the chances, as of one seed, the points are all there is.
    by_chance = sorted(
        unsure, key=lambda o: (-o.chance, o.candidate.lost() > limits.max_accuracy_loss)
    )
    likeliest = tuple(by_chance) if kind == "not shown" else ()
    told = take or (likeliest[0].candidate if likeliest else None)
    over_fp32 = None
    if told is not None and race.fp32 not in (None, told):
        over_fp32 = told, race.ratios(told, race.fp32)[0]
    return Answer(
        question=race.question,
        limits=limits,
        kind=kind,
        take=take,
        dense=dense,
        hurdle=hurdle,
        fp32=race.fp32,
        over_fp32=over_fp32,
        standings=standings,
        runner_up=runner_up,
        lead=lead[runner_up] if runner_up else None,
        peers=tuple((o, lead[o].verdict) for o in lead if lead[o].verdict in _TIES),
        open=likeliest,
        too_slow=race.too_slow,
        unlicensed=race.unlicensed,
    )


def _claims(
    tests: Mapping[Candidate, Ratio], corrected: Mapping[Candidate, float] | None = None
) -> dict[Candidate, Claim]:
    alone = [p_value(log) for _, log in tests.values()]
    family = corrected or dict(zip(tests, holm(alone), strict=True))
    return {
        one: Claim(
            ratio, log, family[one], max(1.0, family[one] / p) if p else float(len(family)),
            corrected_verdict(ratio, family[one]),
        )
        for (one, (ratio, log)), p in zip(tests.items(), alone, strict=True)
    }  # fmt: skip


def most_accurate(question: Question) -> tuple[Candidate, Uncertain, Verdict] | None:
    """The sparse variant with the best mean accuracy change over the tasks, in points.

    One whose change has no interval is not compared. The verdict is on its change against the
    dense baseline, corrected (Holm) over the variants; an accuracy that several engines share
    counts once.
    """
    changes: dict[tuple[str, float], tuple[Candidate, Uncertain]] = {}
    for one in question.candidates:
        each = [cell.evidence.change for cell in one.cells.values()]
        mean = combined([(1 / len(each), change) for change in each])
        if not one.is_dense and mean.error is not None:
            changes.setdefault((one.record.backbone.name, mean.mid), (one, mean))
    if not changes:
        return None
    p_values = holm([p_value(change) for _, change in changes.values()])
    (best, change), p = max(
        zip(changes.values(), p_values, strict=True), key=lambda found: found[0][1].mid
    )
    if p >= FAMILY_ERROR:
        return best, change, "inconclusive"
    return best, change, "better" if change.mid > 0 else "worse"
