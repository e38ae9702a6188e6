"""More than one batch size, baseline, run or task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sparsebench.bench.decide import Limits, Request, RunData, advise
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError
from tests.bench.decide.asking import (
    DENSE,
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


def test_a_sparse_backbone_is_no_reference() -> None:
    """Losses were counted against it, and the answer said that "no dense fits"."""
    with pytest.raises(UnknownNameError, match="no dense backbone of these runs named"):
        advise([run_of(DENSE, FAST)], Request(reference=FAST.backbone.name))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_what_cannot_be_meant_is_refused_wherever_it_is_asked(value: float) -> None:
    """NaN passes every comparison: such a limit could never be broken."""
    asked: list[Callable[[], Limits]] = [
        lambda: Limits(max_accuracy_loss=value),
        lambda: Limits(latency=value),
        lambda: Limits(confidence=value),
    ]
    for limits in asked:
        with pytest.raises(SparsebenchError, match="cannot be asked for"):
            limits()
    with pytest.raises(SparsebenchError, match="Nothing is trained every"):
        Request(retrain_every=value)
    with pytest.raises(SparsebenchError, match="1 image or more"):
        Request(batch_size=0)
