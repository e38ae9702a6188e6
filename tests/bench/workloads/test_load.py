"""Offered loads: Poisson arrivals, one queue, latency from the arrival on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from sparsebench.bench.workloads.load import Duration, Request, arrivals, back_to_back, offer


class Clock:
    """Time that passes only by sleeping and serving: no machine, busy or not, changes it."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def server(self, service: float) -> Request:
        return lambda: self.sleep(service)


def test_arrivals_are_a_poisson_process_and_the_same_for_the_same_seed() -> None:
    found = np.array(arrivals(50.0, Duration(200.0), 3))
    assert tuple(found) == arrivals(50.0, Duration(200.0), 3) != arrivals(50.0, Duration(200.0), 4)
    assert found.min() > 0 and found.max() < 200 and (np.diff(found) > 0).all()
    assert abs(found.size - 10_000) < 4 * np.sqrt(10_000)
    assert scipy.stats.kstest(np.diff(found), "expon", args=(0, 1 / 50)).pvalue > 0.01
    assert len(arrivals(0.001, Duration(0.1), 0)) == 1


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_stream_waits_as_queueing_theory_says(load: float) -> None:
    """M/D/1: mean wait = load x service / (2 (1 - load)) (Pollaczek and Khinchine)."""
    clock, service = Clock(), 0.01
    moments = arrivals(load / service, Duration(800.0), 1)
    found = offer([clock.server(service)], moments, patience=10, now=clock.now, sleep=clock.sleep)
    wait = np.mean(found.latencies) - service
    assert wait == pytest.approx(load * service / (2 * (1 - load)), rel=0.05)
    assert found.unanswered == 0
    assert found.served_per_second == pytest.approx(load / service, rel=0.02)


def test_more_than_can_be_served_is_given_up_after_the_patience() -> None:
    clock = Clock()
    moments = tuple(0.1 * (n + 1) for n in range(100))  # 10 a second, and 5 can be served
    found = offer([clock.server(0.2)], moments, patience=4, now=clock.now, sleep=clock.sleep)
    assert len(found.latencies) == 100
    # 14 s of serving from 0.1 s on, and the one that was at work.
    assert 100 - found.unanswered == pytest.approx(70, abs=1)
    assert found.latencies[-1] == pytest.approx(4.0)  # at least


def test_streams_serve_at_once() -> None:
    """Two requests that each wait for the other: one stream alone would never end."""
    both = threading.Barrier(2, timeout=10)
    found = offer([both.wait, both.wait], (0.0, 0.0, 0.01, 0.01), patience=10)
    assert len(found.latencies) == 4 and found.unanswered == 0


def test_back_to_back_never_queues() -> None:
    clock = Clock()
    found = back_to_back([clock.server(0.25)], Duration(2.5), now=clock.now)
    assert found.latencies == (0.25,) * 10
    assert found.served_per_second == 4


def test_requests_go_on_until_there_are_enough_of_them_and_no_longer_than_allowed() -> None:
    """`serving` sent 270 requests in its three blocks, and p99 takes 368."""
    clock = Clock()
    enough = Duration(2.5, requests=15, most=10.0)
    assert len(back_to_back([clock.server(0.25)], enough, now=clock.now).latencies) == 15
    assert len(back_to_back([clock.server(0.01)], enough, now=clock.now).latencies) == 250
    assert len(back_to_back([clock.server(1.0)], enough, now=clock.now).latencies) == 10
    assert len(arrivals(5.0, Duration(1.0, requests=40, most=60.0), 0)) == 40
    assert max(arrivals(5.0, Duration(1.0, requests=400, most=10.0), 0)) < 10


@pytest.mark.parametrize("streams", [1, 2])
def test_what_a_stream_raises_is_raised_to_the_caller(streams: int) -> None:
    def fails() -> None:
        raise MemoryError("no more")

    requests: list[Callable[[], object]] = [fails] * streams
    with pytest.raises(MemoryError, match="no more"):
        offer(requests, (0.0, 0.0, 0.0), patience=1)
    with pytest.raises(MemoryError, match="no more"):
        back_to_back(requests, Duration(1.0))
