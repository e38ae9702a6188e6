"""Requests for an engine: back to back, or as they come in at an offered rate.

An offered load is a Poisson process with a fixed seed, as MLPerf's server scenario has it
(Reddi et al., MLPerf Inference Benchmark, ISCA 2020): requests arrive whether the engine is free
or not, wait in one queue, and their latency counts from the moment of arrival. A closed loop, where
every stream sends its next request when the last one is answered, never shows a queue.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Request = Callable[[], object]
"""Sends one request on a stream of its own and waits for the answer."""


@dataclass(frozen=True)
class Load:
    """What became of the requests.

    Attributes:
        latencies: seconds from arrival to answer, by arrival; of an unanswered one, how long it
            had waited at least.
        elapsed: seconds from the beginning to the last answer.
        unanswered: requests that were given up.
    """

    latencies: tuple[float, ...]
    elapsed: float
    unanswered: int = 0

    @property
    def served_per_second(self) -> float:
        """Answers a second."""
        return (len(self.latencies) - self.unanswered) / self.elapsed


@dataclass(frozen=True)
class Duration:
    """How long requests are sent: so many seconds, and on until there are enough of them.

    Attributes:
        seconds: at least.
        requests: that are enough, at least one.
        most: seconds after which none is sent, enough or not; `seconds` or more.
    """

    seconds: float
    requests: int = 1
    most: float = math.inf

    def is_over(self, elapsed: float, count: int) -> bool:
        """Whether, after so many seconds and requests, no other one is sent."""
        return elapsed >= (self.most if count < self.requests else self.seconds)


def arrivals(rate: float, duration: Duration, seed: int) -> tuple[float, ...]:
    """Moments of a Poisson process, seconds from its beginning, at least one.

    Args:
        rate: requests a second.
        duration: how long it lasts.
        seed: the same gives the same moments.
    """
    rng = np.random.default_rng(seed)
    found = [float(rng.exponential(1 / rate))]
    while not duration.is_over(
        following := found[-1] + float(rng.exponential(1 / rate)), len(found)
    ):
        found.append(following)
    return tuple(found)


def offer(
    streams: Sequence[Request],
    moments: Sequence[float],
    *,
    patience: float,
    now: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Load:
    """Send requests as they arrive; the first free stream takes the next one of the queue.

    Args:
        streams: each serves one request at a time.
        moments: of arrival, seconds from now, ascending.
        patience: seconds after the last arrival from which on waiting requests are given up.
        now: seconds, never going back; for tests, like the next.
        sleep: waits for so many seconds.

    Raises:
        Exception: what a stream raised first.
    """
    limit = moments[-1] + patience
    latencies = [0.0] * len(moments)
    given_up: list[int] = []
    begin = now()

    def take(number: int, request: Request) -> None:
        if (wait := begin + moments[number] - now()) > 0:
            sleep(wait)
        if now() - begin > limit:
            given_up.append(number)
            latencies[number] = limit - moments[number]
            return
        request()
        latencies[number] = now() - begin - moments[number]

    _share(streams, range(len(moments)), take)
    return Load(tuple(latencies), now() - begin, len(given_up))


def back_to_back(
    streams: Sequence[Request], duration: Duration, *, now: Callable[[], float] = time.perf_counter
) -> Load:
    """Every stream sends its next request when the last one is answered.

    Args:
        streams: each serves one request at a time, at least one.
        duration: after which none sends another one.
        now: seconds, never going back; for tests.

    Raises:
        Exception: what a stream raised first.
    """
    begin = now()
    latencies: list[float] = []

    def loop(number: int, request: Request) -> None:
        while True:
            start = now()
            request()
            end = now()
            latencies.append(end - start)
            if duration.is_over(end - begin, len(latencies)):
                return

    _share(streams, range(len(streams)), loop)
    return Load(tuple(latencies), now() - begin)


def _share(
    streams: Sequence[Request], numbers: Sequence[int], work: Callable[[int, Request], None]
) -> None:
    """Deal numbers to streams, each in a thread of its own, the next to whichever is free."""
    left = iter(numbers)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def serve(request: Request) -> None:
        while not failures:
            with lock:
                number = next(left, None)
            if number is None:
                return
            try:
                work(number, request)
            except BaseException as error:  # whatever it is, the caller's thread raises it
                failures.append(error)

    first, *others = streams
    threads = [threading.Thread(target=serve, args=(one,), daemon=True) for one in others]
    for thread in threads:
        thread.start()
    serve(first)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
