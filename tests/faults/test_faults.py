"""A few of the harness's faults in every run of the tests; 200 behind ``-m faults``."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.faults import injections
from tests.faults.images import write_images
from tests.faults.injections import (
    FullDisk,
    fill_disk,
    hit_process,
    inject,
    small_run,
    spoil,
    tear,
    two_on_one_folder,
    write_all,
)
from tests.faults.job import Job


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("faults") / "pictures")


def writes_of_a_run(path: Path) -> int:
    disk = FullDisk(0, once=True)
    with disk.watching(path):
        write_all(path, small_run())
    return disk.count


def test_a_full_disk_at_every_write_of_a_run(tmp_path: Path) -> None:
    count = writes_of_a_run(tmp_path / "count")
    assert count >= 12  # trials, records, comparisons, summaries, figures, report
    for nth in range(1, count + 1):
        assert fill_disk(nth, True, tmp_path / f"{nth}") == [], nth


def test_a_disk_that_stays_full(tmp_path: Path) -> None:
    for nth in (1, 3, 6, 8):
        assert fill_disk(nth, False, tmp_path / f"{nth}") == [], nth


@pytest.mark.parametrize("seed", range(6))
def test_torn_and_changed_files(tmp_path: Path, seed: int) -> None:
    assert tear(tmp_path / "torn", random.Random(seed)) == []
    assert spoil(tmp_path / "changed", random.Random(seed)) == []


def test_a_killed_worker_costs_no_trial(tmp_path: Path, images: Path) -> None:
    assert hit_process("worker, SIGKILL", Job(tmp_path, images), random.Random(1)) == []


def test_two_runs_on_one_folder(tmp_path: Path, images: Path) -> None:
    assert two_on_one_folder(Job(tmp_path, images)) == []


def test_what_does_not_end_is_counted_and_the_next_fault_injected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(*_: object) -> list[str]:
        raise subprocess.TimeoutExpired("run", 400)

    monkeypatch.setattr(injections, "tear", hangs)
    tally = inject(4, 0, tmp_path, tmp_path, lambda text: None)
    assert tally.lost == {"torn file": ["it had not ended after 400 s"]}
    assert sum(tally.injected.values()) == 4


@pytest.mark.faults
def test_two_hundred_faults(tmp_path: Path, images: Path) -> None:
    tally = inject(200, 0, tmp_path, images, print)
    assert tally.lost == {}, tally.table()
