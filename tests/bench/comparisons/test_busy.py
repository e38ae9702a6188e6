"""A steadily busy machine is known by its load, by other programs, by waiting threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import sparsebench.bench.comparisons.busy
from sparsebench.bench.comparisons.busy import LOAD, busy, busy_now, load_of, waited_share
from sparsebench.bench.records import Record, Trial
from tests.bench.synthetic import make_run

RUN = make_run(blocks=3, backbones=["resnet18/dense", "resnet18/acdc-90"], engines=["torch"])
QUIET = {"cpus": 2, "all_cpus": 2, "load1": 2.1, "own_cpus": 1.8, "foreign_cpus": 0.05}


def told(**load: Any) -> list[Record]:
    return [replace(record, extra={LOAD: {**QUIET, **load}}) for record in RUN.records]


def clocked(process: Sequence[float], waited: float | None) -> list[Trial]:
    """Every trial with a share of its wall time in processes and waiting, by block."""
    return [
        replace(
            trial,
            process_seconds=(sum(trial.seconds) * process[trial.block % len(process)],),
            run_delay_seconds=None if waited is None else (sum(trial.seconds) * waited,),
        )
        for trial in RUN.trials
    ]


def test_a_quiet_run_and_one_that_tells_nothing_are_not_busy() -> None:
    assert busy(told(), clocked([1.9], 0.01)) is None
    assert busy(RUN.records, RUN.trials) is None  # an older run


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"load1": 12.0, "own_cpus": 0.4}, "a load of 12.0 on 2 CPUs"),
        ({"load1": 12.0, "own_cpus": None}, "a load of 12.0 on 2 CPUs"),
        ({"foreign_cpus": 0.7}, "other programs kept 0.7 of 2 CPUs at work"),
    ],
)
def test_foreign_load_makes_a_run_busy(load: dict[str, Any], words: str) -> None:
    found = busy(told(**load), clocked([1.9], 0.01))
    assert found is not None and words in found.sentence


def test_the_load_of_the_run_itself_is_none_of_it() -> None:
    """Decoding beside the engine: four runnable threads of its own on two processors."""
    assert busy(told(load1=3.9, own_cpus=1.95), clocked([1.9], 0.05)) is None


def test_other_programs_on_processors_that_the_run_leaves_free_do_not_matter() -> None:
    many = told(cpus=64, all_cpus=64, load1=20.0, own_cpus=2.0, foreign_cpus=18.0)
    assert busy(many, clocked([1.9], 0.01)) is None


def test_engines_that_wait_for_a_processor_make_a_run_busy() -> None:
    trials = clocked([1.2], 0.8)
    assert waited_share(trials) == pytest.approx(0.8 / 2.0)
    found = busy(told(), trials)
    assert found is not None and "waited 40% of their time" in found.sentence
    # The trainings' own threads wait for each other: only `inference` counts here.
    assert waited_share([t for t in trials if t.workload != "inference"]) is None


def test_an_engine_that_sleeps_is_not_busy() -> None:
    """A millisecond of waiting beside a second of sleep."""
    assert busy(told(), clocked([0.001, 0.002, 0.001], 0.001)) is None


def test_clocks_that_drift_apart_from_block_to_block_are_told() -> None:
    found = busy(told(), clocked([1.9, 1.9, 1.2], 0.01))
    assert found is not None and "drifted apart by 58% between blocks" in found.sentence


def test_load_is_gathered_from_the_blocks() -> None:
    def side(at: float, load: float, own: float, everything: float) -> dict[str, float]:
        return {"at": at, "load1": load, "own_seconds": own, "cpu_seconds": everything}

    lines = [
        {"before": side(0, 1, 0, 0), "after": side(10, 3, 12, 15)},
        {"before": side(20, 3, 12, 30), "after": side(30, 5, 20, 45)},
    ]
    found = load_of(lines)
    assert found["load1"] == 3
    assert found["own_cpus"] == pytest.approx(20 / 20)
    assert found["foreign_cpus"] == pytest.approx(10 / 20)
    older = load_of([{"before": {"at": 0.0, "load1": 1.0}, "after": {"at": 9.0, "load1": 1.0}}])
    assert (older["load1"], older["foreign_cpus"]) == (1, None)


def test_a_load_above_the_processors_is_said_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, expected in ((7.25, True), (2.0, False), (None, False)):
        facts = {"load1": load}
        monkeypatch.setattr(
            sparsebench.bench.comparisons.busy, "load_now", lambda facts=facts: facts
        )
        said = busy_now()
        assert bool(said) is expected
        if said:
            assert "its load is 7.2 on 2 CPUs" in said
