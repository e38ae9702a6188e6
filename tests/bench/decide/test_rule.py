"""The rule on records whose right answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy import stats

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.decide import Request, advise
from sparsebench.bench.records import Record
from tests.bench.decide.asking import (
    DENSE,
    DENSE_NAME,
    FAST,
    MILD,
    POINTS,
    UNSURE,
    advised,
    asked,
    inference,
    of_two_degrees,
    taken,
)
from tests.bench.decide.made import cell, run_of


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


def test_of_unknown_chances_the_likeliest_is_within_the_limit_by_its_point() -> None:
    """Of one seed and one block the fastest came first, which had lost five points."""
    dense = cell("dense", "onnxruntime", (1e-3,), (90.0,))
    losing = cell("acdc-90", "onnxruntime", (0.2e-3,), (85.0,))
    within = cell("acdc-50", "onnxruntime", (0.4e-3,), (91.0,))
    answer = inference(asked(dense, losing, within, max_accuracy_loss=0.5))
    assert answer.kind == "not shown"
    assert [one.candidate.record for one in answer.open] == [within, losing]


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
