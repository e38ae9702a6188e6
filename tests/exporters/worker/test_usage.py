"""Both clocks: process time counts every thread, run delay what they waited, memory the peak."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sparsebench.exporters.worker.usage import Usage, peak_resident_bytes, usage_now
from tests.exporters.worker.test_worker import compiled, some_images


def thread(process: Path, number: int, waited_ns: int) -> None:
    folder = process / "task" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedstat").write_text(f"123456 {waited_ns} 7\n")


def test_run_delay_is_summed_over_the_threads_and_new_ones_count_whole(tmp_path: Path) -> None:
    thread(tmp_path, 1, 1_000_000_000)
    thread(tmp_path, 2, 500_000_000)
    before = usage_now(tmp_path)
    thread(tmp_path, 1, 3_000_000_000)
    thread(tmp_path, 3, 250_000_000)
    (tmp_path / "task/2/schedstat").unlink()  # it has ended
    _, delay = usage_now(tmp_path).since(before)
    assert delay == pytest.approx(2.25)


def test_where_the_kernel_tells_no_delay_it_is_unknown_and_not_zero(tmp_path: Path) -> None:
    missing = usage_now(tmp_path / "nothing")
    assert missing.delays is None
    assert usage_now().since(missing)[1] is None
    assert (missing + Usage(1.0, {1: 2.0})).delays is None


def test_process_time_counts_every_thread_that_computes_and_none_that_sleeps() -> None:
    block, seconds = bytes(1 << 20), 0.05

    def compute() -> None:
        start = time.thread_time()
        while time.thread_time() - start < seconds:
            hashlib.sha256(block).digest()

    threads = [threading.Thread(target=compute) for _ in range(3)]
    before = usage_now()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    time.sleep(0.05)
    spent, _ = usage_now().since(before)
    assert 3 * seconds <= spent < 3 * seconds + 0.04


def test_the_sum_of_two_processes_holds_the_threads_of_both() -> None:
    total = Usage(1.0, {1: 0.5}) + Usage(2.0, {2: 0.25})
    assert total.since(Usage(0.5, {1: 0.25})) == (2.5, 0.5)


def test_the_peak_of_memory_stays_when_the_memory_is_gone() -> None:
    before = peak_resident_bytes()
    np.ones(8 << 20)  # 64 MiB
    assert peak_resident_bytes() >= before
    assert peak_resident_bytes() > 64 << 20


def test_a_worker_times_its_visits_by_both_clocks() -> None:
    with compiled("Good", sleep=0.03) as worker:
        visit = worker.visit(worker.load(some_images(4)), calls=4, budget=0.0, most=4)
        assert len(visit.seconds) == 4 and sum(visit.seconds) >= 0.12
        assert 0 < visit.process_seconds < 0.06  # it slept
        assert visit.run_delay_seconds is None or visit.run_delay_seconds >= 0
        usage, peak = worker.usage()
        assert usage.process_seconds >= visit.process_seconds
        assert peak > 1 << 20
        linux = Path("/proc/self/schedstat").exists()
        assert (usage.delays is not None) == linux
