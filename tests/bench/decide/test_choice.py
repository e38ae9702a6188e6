"""The choice on records whose right answer is known."""

from __future__ import annotations

import math

import pytest

from sparsebench.bench.decide import Limits, Question, advise
from sparsebench.bench.decide.advise import Advice, Answer
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError
from tests.bench.decide.made import cell, run_of

STEADY = (1.0, 1.0, 1.0)
DENSE = cell("dense", "onnxruntime", (1e-3,) * 3, (90.0, 90.2, 90.4))
# 4 times as fast, loses 1 point: in every seed exactly
FAST = cell("acdc-90", "deepsparse", (0.25e-3,) * 3, (89.0, 89.2, 89.4))
# twice as fast, loses 0.2 points
MILD = cell("acdc-50", "onnxruntime", (0.5e-3,) * 3, (89.8, 90.0, 90.2))


def asked(*records: object, **limits: object) -> Advice:
    question = Question(limits=Limits(**limits), batch_size=64)  # type: ignore[arg-type]
    return advise([run_of(*records)], question)  # type: ignore[arg-type]


def inference(advice: Advice) -> Answer:
    return next(one for one in advice.answers if one.workload == "inference")


def winner(advice: Advice) -> str | None:
    choice = inference(advice).choice
    return None if choice is None or choice.winner is None else choice.winner.name


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (0.0, "resnet18/dense on onnxruntime"),
        (0.5, "resnet18/acdc-50 on onnxruntime"),
        (1.5, "resnet18/acdc-90 on deepsparse"),
    ],
)
def test_the_fastest_within_the_loss_is_taken(limit: float, name: str) -> None:
    advice = asked(DENSE, FAST, MILD, max_accuracy_loss=limit)
    assert winner(advice) == name
    assert advice.exit_code == 0


def test_the_limits_at_which_the_answer_flips_are_the_losses_themselves() -> None:
    flips = inference(asked(DENSE, FAST, MILD, max_accuracy_loss=0.5)).flips
    found = {flip.when: flip for flip in flips if flip.what == "accuracy"}
    looser, tighter = found["from 1.00 points of loss on"], found["below 0.20 points of loss"]
    assert looser.value == pytest.approx(1.0) and tighter.value == pytest.approx(0.2)
    assert looser.winner is not None and tighter.winner is not None
    assert looser.winner.name == "resnet18/acdc-90 on deepsparse"
    assert tighter.winner.name == "resnet18/dense on onnxruntime"


def test_production_leaves_out_deepsparse_and_says_so() -> None:
    free = asked(DENSE, FAST, MILD, max_accuracy_loss=2.0)
    assert [flip.winner.name for flip in inference(free).flips if flip.what == "production"
            and flip.winner] == ["resnet18/acdc-50 on onnxruntime"]  # fmt: skip
    bound = asked(DENSE, FAST, MILD, max_accuracy_loss=2.0, production=True)
    choice = inference(bound).choice
    assert choice is not None
    assert winner(bound) == "resnet18/acdc-50 on onnxruntime"
    assert [one.name for one in choice.unlicensed] == ["resnet18/acdc-90 on deepsparse"]
    assert "evaluation only" in choice.unlicensed[0].facts.licence


def test_two_variants_have_exactly_the_probability_of_the_t_test() -> None:
    # log-ratios of the blocks: 0.1 + (-d, 0, d); their t is 0.1 / (d / sqrt 3) with 2 degrees
    spread = 0.05
    slow = [1e-3 * math.exp(0.1 + shift) for shift in (-spread, 0.0, spread)]
    other = cell("acdc-50", "torch", slow, (90.0, 90.2, 90.4))
    advice = asked(DENSE, other, max_accuracy_loss=0.5)
    choice = inference(advice).choice
    assert choice is not None and choice.confidence is not None
    t = 0.1 / (spread / math.sqrt(3))
    expected = 0.5 + t / (2 * math.sqrt(2 + t * t))
    assert choice.confidence.beats_runner_up == pytest.approx(expected)
    assert choice.confidence.fastest == pytest.approx(expected)
    # no loss in any seed on either side: certain, and so only time is in doubt
    assert choice.confidence.within == 1.0
    assert choice.confidence.right == pytest.approx(expected)


def test_the_probability_of_a_loss_is_that_of_the_t_test_over_seeds() -> None:
    # losses 0.1, 0.2, 0.3 points: mean 0.2, standard error 0.1 / sqrt 3
    unsure = cell("acdc-90", "onnxruntime", (0.5e-3,) * 3, (89.9, 90.0, 90.1))
    choice = inference(asked(DENSE, unsure, max_accuracy_loss=0.25)).choice
    assert choice is not None and choice.confidence is not None
    t = 0.05 / (0.1 / math.sqrt(3))
    expected = 0.5 + t / (2 * math.sqrt(2 + t * t))
    assert choice.confidence.within == pytest.approx(expected, abs=1e-6)
    # the dense one is slower for certain, so nothing else can be wrong
    assert choice.confidence.right == pytest.approx(expected, abs=1e-6)


def test_a_faster_variant_just_outside_the_limit_lowers_the_confidence() -> None:
    # its loss is 0.2 +- 0.1/sqrt(3) against a limit of 0.15: inside with probability p
    faster = cell("acdc-90", "onnxruntime", (0.5e-3,) * 3, (89.9, 90.0, 90.1))
    choice = inference(asked(DENSE, faster, max_accuracy_loss=0.15)).choice
    assert choice is not None and choice.confidence is not None and choice.winner is not None
    assert choice.winner.name == "resnet18/dense on onnxruntime"
    t = -0.05 / (0.1 / math.sqrt(3))
    inside = 0.5 + t / (2 * math.sqrt(2 + t * t))
    assert choice.confidence.fastest == 1.0
    assert choice.confidence.right == pytest.approx(1 - inside, abs=1e-6)


def test_one_block_or_one_seed_gives_no_probability() -> None:
    one_block = [
        cell("dense", "torch", (1e-3,), (90.0, 90.2)),
        cell("acdc-90", "torch", (5e-4,), (90.0, 90.3)),
    ]
    choice = inference(asked(*one_block)).choice
    assert choice is not None and choice.confidence is not None
    assert choice.winner is not None and choice.winner.name == "resnet18/acdc-90 on torch"
    assert choice.confidence.right is None and choice.confidence.fastest is None
    one_seed = [
        cell("dense", "torch", (1e-3,) * 3, (90.0,)),
        cell("acdc-90", "torch", (5e-4,) * 3, (90.0,)),
    ]
    choice = inference(asked(*one_seed)).choice
    assert choice is not None and choice.confidence is not None
    assert choice.confidence.within is None and choice.confidence.fastest == 1.0


def test_the_latency_is_that_of_95_percent_of_the_calls() -> None:
    # a call of 64 pictures: dense 64 ms, mild 32 ms, fast 16 ms
    assert winner(asked(DENSE, MILD, latency=0.040)) == "resnet18/acdc-50 on onnxruntime"
    none = asked(DENSE, MILD, FAST, latency=0.020)
    assert winner(none) is None
    assert none.exit_code == 1
    flips = {f.when: f.winner and f.winner.name for f in inference(none).flips}
    assert flips["under a latency limit of 32 ms or more"] == "resnet18/acdc-50 on onnxruntime"


def test_an_unmeasured_batch_size_is_said_with_the_command_and_never_guessed() -> None:
    advice = advise([run_of(DENSE, MILD)], Question(batch_size=1))
    answer = inference(advice)
    assert answer.choice is None
    assert "batch size 1, only at 64" in answer.unmeasured
    assert "--batch-size 1" in answer.measure and "runs/made/plan.toml" in answer.measure
    assert advice.exit_code == 3


def test_other_batch_sizes_are_answered_for_themselves() -> None:
    single = [
        cell("dense", "onnxruntime", (1e-3,) * 3, (90.0, 90.2, 90.4), batch_size=1),
        cell("acdc-50", "onnxruntime", (2e-3,) * 3, (89.8, 90.0, 90.2), batch_size=1),
    ]
    advice = asked(DENSE, MILD, *single)
    assert winner(advice) == "resnet18/acdc-50 on onnxruntime"
    flip = next(f for f in inference(advice).flips if f.what == "batch size")
    assert flip.value == 1 and flip.winner is not None
    assert flip.winner.name == "resnet18/dense on onnxruntime"
    with pytest.raises(SparsebenchError, match="batch sizes 1, 64"):
        advise([run_of(DENSE, MILD, *single)], Question())


def test_a_less_accurate_architecture_is_not_its_own_yardstick() -> None:
    from dataclasses import replace

    small = cell("dense", "torch", (1e-4,) * 3, (70.0, 70.2, 70.4))
    small = replace(small, id="small",
                    backbone=replace(small.backbone, name="squeezenet/dense"))  # fmt: skip
    assert winner(asked(DENSE, small)) == "resnet18/dense on onnxruntime"
    question = Question(batch_size=64, reference="squeezenet/dense")
    assert winner(advise([run_of(DENSE, small)], question)) == "squeezenet/dense on torch"
    with pytest.raises(UnknownNameError, match="resnet18/dense"):
        advise([run_of(DENSE, small)], Question(reference="resnet18/dens"))


def test_what_cannot_be_chosen_is_named_with_its_reason() -> None:
    from dataclasses import replace

    random = cell("erk-90@generated", "torch", (1e-5,) * 3, (90.0, 90.2, 90.4))
    random = replace(random, backbone=replace(random.backbone, trained=False))
    failed = replace(FAST, status="failed", reason="it crashed", trials=())
    advice = asked(DENSE, random, failed)
    assert winner(advice) == "resnet18/dense on onnxruntime"
    reasons = dict(advice.excluded)
    assert (
        "generated weights" in reasons["resnet18/erk-90@generated on torch (inference, batch 64)"]
    )
    assert "it crashed" in reasons["resnet18/acdc-90 on deepsparse (inference, batch 64)"]
    with pytest.raises(NothingMeasuredError, match="it crashed"):
        asked(failed)


def test_two_runs_of_one_machine_are_one_choice_and_two_machines_are_refused() -> None:
    second = run_of(cell("dense", "torch", (9e-4, 9.1e-4, 8.9e-4), (90.0, 90.2, 90.4)), name="b")
    advice = advise([run_of(DENSE), second], Question())
    assert winner(advice) == "resnet18/dense on torch"
    choice = inference(advice).choice
    assert choice is not None and choice.confidence is not None
    # unpaired: log times 9e-4 +- spread against exactly 1e-3
    logs = [math.log(x) for x in (9e-4, 9.1e-4, 8.9e-4)]
    mean = sum(logs) / 3
    error = math.sqrt(sum((x - mean) ** 2 for x in logs) / 2 / 3)
    t = (math.log(1e-3) - mean) / error
    assert choice.confidence.fastest == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)))
    elsewhere = run_of(cell("dense", "torch", STEADY, (90.0,), machine="other"), name="c")
    with pytest.raises(SparsebenchError, match="2 machines"):
        advise([run_of(DENSE), elsewhere], Question())
