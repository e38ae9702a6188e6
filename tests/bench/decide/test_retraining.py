"""Training and inference weighed together: the formula, by hand."""

from __future__ import annotations

import pytest

from sparsebench.bench.decide import Limits, Request, advise
from sparsebench.bench.decide.retraining import Retraining, equal_period, seconds_of
from sparsebench.models.errors import SparsebenchError
from tests.bench.decide.made import cell, run_of

POINTS = (90.0, 90.2, 90.4)
# the sparse one serves twice as fast, but trains for 3000 s instead of 1000 s
RECORDS = (
    cell("dense", "torch", (1e-3,) * 3, POINTS),
    cell("acdc-90", "torch", (0.5e-3,) * 3, POINTS),
    cell("dense", "torch", (1000.0,) * 3, POINTS, workload="full"),
    cell("acdc-90", "torch", (3000.0,) * 3, POINTS, workload="full"),
)
# (1000 * 0.5 - 3000 * 1) / (0.5 - 1) = 5000
EQUAL = 5000.0


def weighed(period: float) -> Retraining:
    advice = advise([run_of(*RECORDS)], Request(limits=Limits(), retrain_every=period))
    return advice.answers[0].retraining[0]


def test_both_serve_equally_many_at_the_period_of_the_formula() -> None:
    assert equal_period(0.5e-3, 3000, 1e-3, 1000) == pytest.approx(EQUAL)
    served = [(EQUAL - 3000) / 0.5e-3, (EQUAL - 1000) / 1e-3]
    assert served[0] == pytest.approx(served[1])
    assert equal_period(1.0, 10, 1.0, 20) is None  # the shorter training is always ahead
    assert equal_period(0.5, 10, 1.0, 20) is None  # better in both


@pytest.mark.parametrize(("period", "name"), [(4900, "dense"), (5400, "acdc-90")])
def test_the_answer_flips_at_that_period(period: float, name: str) -> None:
    """Once it serves more by more than the smallest effect of interest, 5 %."""
    found = weighed(period)
    assert found.answer.take is not None
    assert found.answer.take.name == f"resnet18/{name} on torch"
    assert found.overtaken == pytest.approx(EQUAL)


def test_the_images_served_follow_the_formula() -> None:
    found = weighed(86400)
    assert found.answer.take is not None and found.answer.runner_up is not None
    assert found.served(found.answer.take) == pytest.approx((86400 - 3000) / 0.5e-3)
    assert found.served(found.answer.runner_up) == pytest.approx((86400 - 1000) / 1e-3)


def test_a_training_longer_than_the_period_is_out() -> None:
    found = weighed(2000)
    assert [one.name for one in found.never] == ["resnet18/acdc-90 on torch"]
    assert found.answer.take is not None
    assert found.answer.take.name == "resnet18/dense on torch"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1.5s", 1.5), ("day", 86400), ("6h", 21600), ("2 weeks", 1209600)],
)
def test_times_are_read_with_their_units(text: str, seconds: float) -> None:
    assert seconds_of(text, "--latency") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["20", "fortnight", "-3s", "0ms", "", "nan s"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(SparsebenchError, match="20ms"):
        seconds_of(text, "--latency")
