"""Items a second, times seconds, are items: in the tables, for any record."""

from __future__ import annotations

from dataclasses import replace
from statistics import geometric_mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.bench.present.tables.rows import Section, sections
from sparsebench.bench.records import Record, TimedBlock
from tests.bench.synthetic import make_run

BASE = next(r for r in make_run(blocks=1).records if r.workload == "inference")
SECONDS = st.floats(1e-5, 1e3)
TIMES = st.lists(st.lists(SECONDS, min_size=1, max_size=5), min_size=1, max_size=4)


def record_of(workload: str, times: list[list[float]], items: int) -> Record:
    trials = tuple(
        TimedBlock(block, f"l{block}", 0, (), tuple(seconds), items, {})
        for block, seconds in enumerate(times)
    )
    return replace(BASE, workload=workload, trials=trials)


def table(record: Record) -> Section:
    (section,) = sections([record], [], [])
    return section


@settings(max_examples=60, deadline=None)
@given(times=TIMES, items=st.integers(1, 4096))
def test_items_a_second_times_seconds_of_a_call_are_items(
    times: list[list[float]], items: int
) -> None:
    section = table(record_of("inference", times, items))
    speed = section.rows[0].speed
    assert section.throughput
    seconds = geometric_mean(median(block) for block in times)
    assert speed.mid * seconds == pytest.approx(items, rel=1e-9)
    assert speed.low <= speed.mid * (1 + 1e-9) <= speed.high * (1 + 2e-9)


@settings(max_examples=60, deadline=None)
@given(times=TIMES, items=st.integers(1, 4096))
def test_end_to_end_seconds_do_not_depend_on_how_items_are_counted(
    times: list[list[float]], items: int
) -> None:
    section = table(record_of("linear-cached", times, items))
    assert not section.throughput
    seconds = geometric_mean(median(block) for block in times)
    assert section.rows[0].speed.mid == pytest.approx(seconds, rel=1e-9)
    # The same images in the same time, counted as images a second.
    as_calls = table(record_of("inference", times, items))
    assert section.rows[0].speed.mid * as_calls.rows[0].speed.mid == pytest.approx(items, rel=1e-9)
