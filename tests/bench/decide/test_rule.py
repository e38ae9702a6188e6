"""The rule on records whose right answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pytest import MonkeyPatch
from scipy import stats

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.decide import Answer, Limits, Request, RunData, advise
from sparsebench.bench.decide.advice import Advice, Advised
from sparsebench.bench.decide.evidence import (
    AccuracyEvidence,
    accuracy_evidence,
    accuracy_need,
    blocks_need,
)
from sparsebench.bench.decide.uncertain import Uncertain
from sparsebench.bench.records import Record
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError
from tests.bench.decide.made import cell, run_of

POINTS = (90.0, 90.2, 90.4)
DENSE_NAME = "resnet18/dense on onnxruntime"
DENSE = cell("dense", "onnxruntime", (1e-3,) * 3, POINTS)
# 4 times as fast, loses 1 point: in every seed exactly
FAST = cell("acdc-90", "deepsparse", (0.25e-3,) * 3, (89.0, 89.2, 89.4))
# twice as fast, loses 0.2 points
MILD = cell("acdc-50", "onnxruntime", (0.5e-3,) * 3, (89.8, 90.0, 90.2))
# twice as fast; losses 0.1, 0.2, 0.3 points: mean 0.2, standard error 0.1 / sqrt 3
UNSURE = cell("acdc-90", "onnxruntime", (0.5e-3,) * 3, (89.9, 90.0, 90.1))


def asked(*records: Record, **limits: object) -> Advice:
    request = Request(limits=Limits(**limits), batch_size=64)  # type: ignore[arg-type]
    return advise([run_of(*records)], request)


def advised(advice: Advice) -> Advised:
    return next(one for one in advice.answers if one.answer.question.workload == "inference")


def inference(advice: Advice) -> Answer:
    return advised(advice).answer


def taken(advice: Advice) -> str | None:
    take = inference(advice).take
    return None if take is None else take.name


def of_two_degrees(t: float) -> float:
    """Student's t with 2 degrees of freedom below t, in closed form."""
    return 0.5 + t / (2 * math.sqrt(2 + t * t))


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (0.0, "resnet18/dense on onnxruntime"),
        (0.5, "resnet18/acdc-50 on onnxruntime"),
        (1.5, "resnet18/acdc-90 on deepsparse"),
    ],
)
def test_the_fastest_that_is_shown_is_taken(limit: float, name: str) -> None:
    advice = asked(DENSE, FAST, MILD, max_accuracy_loss=limit)
    assert taken(advice) == name
    assert advice.exit_code == 0


def int8(points: tuple[float, ...]) -> Record:
    """A dense cell in INT8, 2.5 times as fast as the other."""
    dense = cell("dense", "openvino", (0.4e-3,) * 3, points)
    return replace(dense, engine=replace(dense.engine, precision="int8"), division="open")


OPEN = int8((89.9, 90.2, 90.5))  # changes by -0.1, 0, 0.1 points: nobody knows
LOSING = int8((88.0, 88.2, 88.4))


def test_a_dense_rival_is_the_hurdle_until_its_loss_is_shown() -> None:
    """At a limit of 0 an INT8 network counts that is as good as the dense one, as in the tables."""
    fast = cell("acdc-90", "deepsparse", (0.2e-3,) * 3, (91.0, 91.2, 91.4))
    partner = cell("dense", "deepsparse", (1.1e-3,) * 3, POINTS)
    answer = inference(asked(DENSE, OPEN, partner, fast, max_accuracy_loss=0.0))
    assert answer.take is not None and answer.take.record is fast
    assert answer.hurdle is not None and answer.hurdle.record is OPEN
    standing = answer.standing(answer.take)
    (table,) = compare_run([DENSE, OPEN, partner, fast])
    assert table.best_dense == OPEN.id and table.total is not None
    assert standing is not None and standing.claim is not None
    assert standing.claim.ratio.median == pytest.approx(table.total.median) == pytest.approx(2.0)


def test_what_beats_only_a_slower_dense_waits_for_the_hurdles_accuracy() -> None:
    slower = cell("acdc-90", "deepsparse", (0.5e-3,) * 3, (91.0, 91.2, 91.4))
    answer = inference(asked(DENSE, OPEN, slower, max_accuracy_loss=0.0))
    assert answer.kind == "not shown" and answer.open[0].candidate.record is OPEN
    assert answer.needs and answer.dense is not None
    assert answer.dense.record is DENSE  # what to take until then
    shown_to_lose = inference(asked(DENSE, LOSING, slower, max_accuracy_loss=0.0))
    assert shown_to_lose.take is not None and shown_to_lose.take.record is slower
    assert shown_to_lose.hurdle is not None and shown_to_lose.hurdle.record is DENSE
    none_within = inference(asked(DENSE, OPEN, FAST, max_accuracy_loss=0.0))
    assert none_within.kind == "dense" and none_within.take is none_within.dense


@pytest.mark.parametrize(("limit", "kind"), [(0.0, "dense"), (0.3, "not shown"), (0.4, "sparse")])
def test_a_limit_needs_the_probability_of_the_t_test(limit: float, kind: str) -> None:
    answer = inference(asked(DENSE, UNSURE, max_accuracy_loss=limit))
    within = of_two_degrees((limit - 0.2) / (0.1 / math.sqrt(3)))
    standing = next(one for one in answer.standings if not one.candidate.is_dense)
    assert standing.within == pytest.approx(within, abs=1e-6)
    assert answer.kind == kind
    assert (within >= 0.95) == (kind == "sparse") and (within <= 0.05) == (kind == "dense")


def test_another_confidence_moves_the_line_and_the_exit_code_tells() -> None:
    sure = asked(DENSE, UNSURE, max_accuracy_loss=0.3)  # probability 0.887
    assert (inference(sure).kind, sure.exit_code, taken(sure)) == ("not shown", 4, None)
    likely = asked(DENSE, UNSURE, max_accuracy_loss=0.3, confidence=0.8)
    assert (inference(likely).kind, likely.exit_code) == ("sparse", 0)


def test_a_speed_up_that_does_not_hold_after_holm_is_not_taken() -> None:
    """One p-value of 0.03 is significant alone and not among three (Holm: 0.09)."""
    t = float(stats.t.isf(0.015, 2))
    spread = 0.05
    error = spread / math.sqrt(3)
    seconds = [1e-3 * math.exp(-t * error + shift) for shift in (-spread, 0.0, spread)]
    one = cell("acdc-90", "onnxruntime", seconds, POINTS)
    alone = inference(asked(DENSE, one))
    assert alone.kind == "sparse"
    assert alone.standing(alone.take).claim.p == pytest.approx(0.03, abs=1e-6)  # type: ignore[union-attr]
    noise = [1e-3 * math.exp(shift) for shift in (-0.2, 0.0, 0.2)]
    others = [cell(f"acdc-{n}", "onnxruntime", noise, POINTS) for n in (50, 80)]
    among = inference(asked(DENSE, one, *others))
    claim = next(s.claim for s in among.standings if s.candidate.name == alone.take.name)  # type: ignore[union-attr]
    assert claim is not None and claim.p == pytest.approx(0.09, abs=1e-6)
    assert (among.kind, claim.verdict) == ("not shown", "inconclusive")


def test_equal_times_are_a_tie_and_dense_is_taken() -> None:
    seconds = [1e-3 * math.exp(shift) for shift in (-0.004, 0.0, 0.004)]
    answer = inference(asked(DENSE, cell("acdc-90", "onnxruntime", seconds, POINTS)))
    assert answer.kind == "dense" and answer.take is answer.dense
    assert [(one.name, word) for one, word in answer.peers] == [
        ("resnet18/acdc-90 on onnxruntime", "tied")
    ]


def test_two_sparse_ones_that_are_not_told_apart_are_named_together() -> None:
    seconds = [0.5e-3 * math.exp(shift) for shift in (-0.1, 0.02, 0.1)]
    other = cell("acdc-80", "onnxruntime", seconds, (89.8, 90.0, 90.2))
    answer = inference(asked(DENSE, MILD, other))
    assert answer.take is not None and answer.take.name == "resnet18/acdc-50 on onnxruntime"
    assert [word for one, word in answer.peers if "acdc-80" in one.name] == ["inconclusive"]
    assert not any(one.is_dense for one, _ in answer.peers)


def test_a_slow_variant_that_may_be_within_does_not_leave_it_open() -> None:
    """Neither an accuracy nor a speed is ruled out alone, but both together are."""
    seconds = [1.1e-3 * math.exp(shift) for shift in (-0.09, 0.0, 0.09)]
    slow = cell("acdc-90", "onnxruntime", seconds, (89.5, 89.7, 90.0))
    answer = inference(asked(DENSE, slow, max_accuracy_loss=0.4))
    standing = next(one for one in answer.standings if not one.candidate.is_dense)
    assert standing.claim is not None and standing.claim.gain is not None
    assert standing.within is not None and min(standing.within, standing.claim.gain) > 0.05
    assert standing.within * standing.claim.gain < 0.05
    assert answer.kind == "dense"


def test_the_limits_at_which_the_answer_flips() -> None:
    found = {
        flip.when: flip.answer.take.name
        for flip in advised(asked(DENSE, FAST, MILD, max_accuracy_loss=0.5)).flips
        if flip.what == "accuracy" and flip.answer.take
    }
    # losses are exact, so a limit is kept from the loss itself on
    assert found["from 1.00 points of loss on"] == "resnet18/acdc-90 on deepsparse"
    assert found["below 0.20 points of loss"] == "resnet18/dense on onnxruntime"


def test_production_has_one_source_and_leaves_out_what_does_not_say() -> None:
    free = asked(DENSE, FAST, MILD, max_accuracy_loss=2.0)
    flips = [flip for flip in advised(free).flips if flip.what == "production"]
    assert [f.answer.take.name for f in flips if f.answer.take] == [
        "resnet18/acdc-50 on onnxruntime"
    ]
    bound = asked(DENSE, FAST, MILD, max_accuracy_loss=2.0, production=True)
    assert taken(bound) == "resnet18/acdc-50 on onnxruntime"
    assert [one.name for one in inference(bound).unlicensed] == ["resnet18/acdc-90 on deepsparse"]
    assert "evaluation only" in inference(bound).unlicensed[0].facts.licence
    # what a record tells of a licence is text, no permission
    told = {"engine": {"licence": "allows production"}}
    foreign = replace(MILD, id="f", engine=replace(MILD.engine, name="elsewhere"), extra=told)
    assert taken(asked(DENSE, foreign)) == "resnet18/acdc-50 on elsewhere"
    asked_of = inference(asked(DENSE, foreign, production=True))
    assert asked_of.kind == "dense"
    assert [one.facts.production for one in asked_of.unlicensed] == [None]


def test_a_cell_with_too_few_blocks_wins_nothing() -> None:
    """Two blocks have no interval: such a cell is neither taken nor the best dense, fast or not."""
    quick_dense = cell("dense", "openvino", (0.1e-3,) * 2, POINTS)
    quick_sparse = cell("acdc-50", "openvino", (0.05e-3,) * 2, POINTS)
    answer = inference(asked(DENSE, FAST, quick_dense, quick_sparse, max_accuracy_loss=1.5))
    assert answer.best_dense is not None and answer.best_dense.name == DENSE_NAME
    assert answer.dense is answer.best_dense
    assert answer.kind == "sparse" and answer.take is not None
    assert answer.take.name == "resnet18/acdc-90 on deepsparse"
    assert answer.runner_up is answer.dense


@pytest.mark.parametrize("others", [(), (cell("acdc-90", "torch", (0.2e-3,), (80.0,) * 3),)])
def test_one_block_of_dense_alone_is_not_an_answer(others: tuple[Record, ...]) -> None:
    advice = asked(cell("dense", "onnxruntime", (1e-3,), POINTS), *others)
    answer = inference(advice)
    assert answer.kind == "not shown" and answer.take is None and answer.dense is None
    assert answer.best_dense is None and advice.exit_code != 0
    assert [(need.what, need.now, need.about) for need in answer.needs] == [("blocks", 1, 3)]


def test_two_blocks_of_two_runs_have_no_interval_either() -> None:
    """Ratios of cells of two runs came with an interval from two blocks a side."""
    runs = [
        run_of(cell("dense", "onnxruntime", (1e-3, 1.1e-3), POINTS), name="one"),
        run_of(cell("dense", "openvino", (2e-3, 2.1e-3), POINTS), name="two"),
    ]
    answer = next(one.answer for one in advise(runs, Request(batch_size=64)).answers)
    ratios = [one.claim.ratio for one in answer.standings if one.claim is not None]
    assert [ratio.ci95 for ratio in ratios] == [None]


def test_one_block_or_one_seed_shows_nothing_and_says_what_would() -> None:
    one_block = [cell(name, "torch", (s,), (90.0, 90.2)) for name, s in
                 (("dense", 1e-3), ("acdc-90", 5e-4))]  # fmt: skip
    answer = inference(asked(*one_block))
    assert answer.kind == "not shown"
    assert [(need.what, need.now) for need in answer.needs] == [("blocks", 1)]
    one_seed = [cell(name, "torch", (s,) * 3, (90.0,)) for name, s in
                (("dense", 1e-3), ("acdc-90", 5e-4))]  # fmt: skip
    answer = inference(asked(*one_seed))
    assert answer.kind == "not shown" and answer.standings[0].within is None
    assert [(need.what, need.now) for need in answer.needs] == [("seeds", 1)]


def test_the_seeds_that_it_takes_are_the_first_that_reach_the_probability() -> None:
    evidence = AccuracyEvidence(Uncertain(-0.2, 0.1, 2), seeds=3, images=500)
    need = accuracy_need(evidence, 0.25, 0.95)
    assert need.what == "seeds" and need.now == 3 and need.about is not None

    def within(seeds: int) -> float:
        return float(stats.t.cdf(0.05 / (0.1 * math.sqrt(3 / seeds)), seeds - 1))

    assert within(need.about) >= 0.95 > within(need.about - 1)


def test_where_test_images_are_the_limit_more_of_them_are_asked_for() -> None:
    """An error of 1 point from 400 images against a gap of 0.5: seeds cannot do it."""
    evidence = AccuracyEvidence(Uncertain(-0.5, 1.1, 4), seeds=5, images=400, images_error=1.0)
    need = accuracy_need(evidence, 1.0, 0.95)
    assert (need.what, need.now) == ("test images", 400)
    assert need.about is not None and 1.0 * math.sqrt(400 / need.about) * 1.645 <= 0.5


def test_an_interval_over_images_and_seeds_is_used_as_it_is(monkeypatch: MonkeyPatch) -> None:
    """Half 0.5 in all, 0.3 over seeds alone: 0.4 comes from the images."""
    delta = SimpleNamespace(
        mean=-0.2, ci95=(-0.7, 0.3), ci95_seeds=(-0.5, 0.1), over="images and seeds"
    )
    monkeypatch.setattr(
        "sparsebench.bench.decide.evidence.accuracy_change",
        lambda *_: SimpleNamespace(delta=delta),
    )
    found = accuracy_evidence(MILD, DENSE, [DENSE, MILD])
    assert found is not None and found.images_error == pytest.approx(0.4 / 1.96, rel=1e-4)
    expected = stats.norm.cdf(0.3 / (0.5 / 1.96))  # at most 0.5 points
    assert found.loses_at_most(0.5) == pytest.approx(expected, abs=1e-4)


def test_the_blocks_that_it_takes_are_the_first_with_a_verdict() -> None:
    log = Uncertain(math.log(1.3), 0.15, 2)
    need = blocks_need(log, 3, factor=4.0)
    assert need.about is not None

    def p(blocks: int) -> float:
        return float(2 * stats.t.sf(log.mid / (0.15 * math.sqrt(3 / blocks)), blocks - 1) * 4)

    assert p(need.about) < 0.05 <= p(need.about - 1)


def test_the_latency_is_that_of_95_percent_of_the_calls() -> None:
    # a call of 64 images: dense 64 ms, mild 32 ms, fast 16 ms
    kept = asked(DENSE, MILD, latency=0.040)
    assert taken(kept) == "resnet18/acdc-50 on onnxruntime" and inference(kept).dense is None
    none = asked(DENSE, MILD, FAST, latency=0.020)
    assert inference(none).kind == "nothing fits" and none.exit_code == 1
    flips = {f.when: f.answer.take and f.answer.take.name for f in advised(none).flips}
    assert flips["under a latency limit of 32 ms or more"] == "resnet18/acdc-50 on onnxruntime"


def test_an_unmeasured_batch_size_is_said_with_the_command_and_never_guessed() -> None:
    advice = advise([run_of(DENSE, MILD)], Request(batch_size=1))
    missing = next(one for one in advice.missing if one.workload == "inference")
    assert not advice.answers
    assert "batch size 1, only at 64" in missing.reason
    assert "--batch-size 1" in missing.measure and "runs/made/plan.toml" in missing.measure
    assert advice.exit_code == 3


def test_other_batch_sizes_are_answered_for_themselves() -> None:
    single = [
        cell("dense", "onnxruntime", (1e-3,) * 3, POINTS, batch_size=1),
        cell("acdc-50", "onnxruntime", (2e-3,) * 3, (89.8, 90.0, 90.2), batch_size=1),
    ]
    advice = asked(DENSE, MILD, *single)
    assert taken(advice) == "resnet18/acdc-50 on onnxruntime"
    flip = next(f for f in advised(advice).flips if f.what == "batch size")
    assert flip.value == 1 and flip.answer.take is not None
    assert flip.answer.take.name == "resnet18/dense on onnxruntime"
    with pytest.raises(SparsebenchError, match="batch sizes 1, 64"):
        advise([run_of(DENSE, MILD, *single)], Request())


def test_each_dense_baseline_is_a_question_and_a_reference_makes_them_one() -> None:
    small = cell("dense", "torch", (1e-4,) * 3, (70.0, 70.2, 70.4))
    small = replace(small, id="small", backbone=replace(small.backbone, name="squeezenet/dense"))
    advice = asked(DENSE, small)
    assert [one.answer.question.baseline for one in advice.answers] == [
        "resnet18/dense", "squeezenet/dense",
    ]  # fmt: skip
    # against the more accurate one, the small one loses 20 points
    request = Request(batch_size=64, reference="resnet18/dense")
    whole = advise([run_of(DENSE, small)], request)
    assert len(whole.answers) == 1 and taken(whole) == "resnet18/dense on onnxruntime"
    with pytest.raises(UnknownNameError, match="resnet18/dense"):
        advise([run_of(DENSE, small)], Request(reference="resnet18/dens"))


def test_what_cannot_be_chosen_is_named_with_its_reason() -> None:
    random = cell("erk-90@generated", "torch", (1e-5,) * 3, POINTS)
    random = replace(random, backbone=replace(random.backbone, trained=False))
    failed = replace(FAST, status="failed", reason="it crashed", trials=())
    advice = asked(DENSE, random, failed)
    assert taken(advice) == "resnet18/dense on onnxruntime"
    assert inference(advice).question.unmeasured == 2
    reasons = dict(advice.excluded)
    assert (
        "generated weights" in reasons["resnet18/erk-90@generated on torch (inference, batch 64)"]
    )
    assert "it crashed" in reasons["resnet18/acdc-90 on deepsparse (inference, batch 64)"]
    with pytest.raises(NothingMeasuredError, match="it crashed"):
        asked(failed)


def test_two_runs_of_one_machine_are_one_choice_and_two_machines_are_refused() -> None:
    seconds = (9e-4, 9.1e-4, 8.9e-4)
    second = run_of(cell("dense", "torch", seconds, POINTS), name="b")
    advice = advise([run_of(DENSE), second], Request())
    assert taken(advice) == "resnet18/dense on torch"
    lead = inference(advice).lead
    # unpaired: log times 9e-4 +- spread against exactly 1e-3
    logs = np.log(seconds)
    t = (math.log(1e-3) - logs.mean()) / stats.sem(logs)
    assert lead is not None and lead.faster == pytest.approx(of_two_degrees(t))
    elsewhere = run_of(cell("dense", "torch", (1.0,) * 3, (90.0,), machine="other"), name="c")
    with pytest.raises(SparsebenchError, match="2 machines"):
        advise([run_of(DENSE), elsewhere], Request())


def test_over_two_tasks_a_limit_must_hold_on_both() -> None:
    """Probabilities of 0.97 each leave 0.94 for both (Boole)."""
    t = float(stats.t.ppf(0.97, 2))
    limit = 0.2 + t * 0.1 / math.sqrt(3)
    records = []
    for task in ("birds", "cars"):
        for one in (DENSE, UNSURE):
            named = replace(one.task, name=task)
            records.append(replace(one, id=f"{task}-{one.id}", task=named))
    found = advise(
        [RunData.of("two", records)], Request(Limits(max_accuracy_loss=limit), batch_size=64)
    )
    kinds = {one.answer.question.tasks: one.answer.kind for one in found.answers}
    assert kinds == {("birds", "cars"): "not shown", ("birds",): "sparse", ("cars",): "sparse"}
    both = found.answers[0].answer
    assert both.standings[0].within == pytest.approx(0.94, abs=1e-6)


def test_a_task_on_which_everything_failed_leaves_the_other_its_answer() -> None:
    other = [replace(one, id=f"b-{one.id}", task=replace(one.task, name="birds"), status="failed",
                     reason="no images", trials=()) for one in (DENSE, MILD)]  # fmt: skip
    (only,) = asked(DENSE, MILD, *other).answers
    assert only.answer.question.tasks == (DENSE.task.name,) and only.answer.question.whole
    assert only.answer.kind == "sparse"


def test_a_limit_that_may_hold_on_both_tasks_is_not_ruled_out() -> None:
    """Even odds on each task: between 0 and one half for both, whatever goes together."""
    records = []
    for task in ("birds", "cars"):
        for one in (DENSE, UNSURE):
            records.append(replace(one, id=f"{task}-{one.id}", task=replace(one.task, name=task)))
    request = Request(Limits(max_accuracy_loss=0.2), batch_size=64)
    both = advise([RunData.of("two", records)], request).answers[0].answer
    assert both.question.whole and both.kind == "not shown"
    assert both.standings[0].odds == pytest.approx((0.0, 0.5), abs=1e-6)
