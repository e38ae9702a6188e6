"""What would show an answer: seeds, images, blocks."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from pytest import MonkeyPatch
from scipy import stats

from sparsebench.bench.decide.evidence import (
    AccuracyEvidence,
    accuracy_evidence,
    accuracy_need,
    blocks_need,
)
from sparsebench.bench.decide.uncertain import Uncertain
from tests.bench.decide.asking import (
    DENSE,
    MILD,
    asked,
    inference,
)
from tests.bench.decide.made import cell


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
