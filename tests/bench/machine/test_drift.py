"""The discard rule looks at the machine, never at the times of the cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sparsebench.bench.machine.drift
from sparsebench.bench.machine.drift import (
    Notes,
    Sentinel,
    Watch,
    disturbance,
    noted_blocks,
    read_sentinel,
)
from sparsebench.bench.records import RunFolder
from sparsebench.models.cpus import usable_cpus
from tests.bench.synthetic import make_run

QUIET = Sentinel(
    at=100.0, compute_seconds=1e-3, memory_seconds=5e-3, steal_seconds=7.0, throttled_seconds=0.0
)
CPUS = usable_cpus()


def later(**changes: float | None) -> Sentinel:
    return replace(QUIET, at=110.0, **changes)  # type: ignore[arg-type]


def test_a_quiet_block_is_kept() -> None:
    assert disturbance(QUIET, later(compute_seconds=1.1e-3, memory_seconds=4.6e-3)) is None
    assert disturbance(QUIET, later(steal_seconds=7.0 + 0.04 * 10 * CPUS)) is None


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (later(compute_seconds=1.2e-3), "the compute kernel took 1.20 times as long"),
        (later(memory_seconds=4e-3), "the memory kernel took 0.80 times as long"),
        (later(steal_seconds=7.0 + 0.06 * 10 * CPUS), "the hypervisor took 6% of the CPU time"),
        (later(throttled_seconds=0.5 * 10 * CPUS), "the quota took 50% of the CPU time"),
    ],
)
def test_a_disturbed_block_is_discarded_and_says_why(after: Sentinel, words: str) -> None:
    assert words in str(disturbance(QUIET, after))


def test_what_cannot_be_read_disturbs_nothing() -> None:
    unknown = replace(QUIET, steal_seconds=None, throttled_seconds=None)
    assert disturbance(unknown, later(steal_seconds=99.0)) is None


def test_sentinels_are_short_and_positive() -> None:
    sentinel = read_sentinel()
    assert 0 < sentinel.compute_seconds < 1
    assert 0 < sentinel.memory_seconds < 1


def test_a_discarded_trial_stays_on_disk_and_counts_no_more(tmp_path: Path) -> None:
    run = make_run(blocks=3, backbones=["resnet18/dense"], engines=["torch"])
    with RunFolder.open(tmp_path / "R") as folder:
        for trial in run.trials:
            folder.append_trial(trial)
        first = run.trials[0]
        folder.append_trial(replace(first, status="discarded", reason="the quota took 50%"))
    found = RunFolder(tmp_path / "R").trials()
    assert len(found) == len(run.trials)
    assert [t.reason for t in found if t.status == "discarded"] == ["the quota took 50%"]
    raw = (tmp_path / "R" / "trials.jsonl").read_text()
    assert raw.count("\n") == len(run.trials) + 1


@pytest.mark.parametrize(
    ("minutes", "may_discard", "discarded"), [(1, True, True), (1, False, False), (9, True, False)]
)
def test_a_disturbed_block_is_noted_and_repeated_if_it_may_and_is_short(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    may_discard: bool,
    discarded: bool,
) -> None:
    after = replace(QUIET, at=QUIET.at + 60 * minutes, compute_seconds=2e-3)
    states = iter((QUIET, after))
    monkeypatch.setattr(sparsebench.bench.machine.drift, "read_sentinel", lambda: next(states))
    reason = Watch(notes := Notes(tmp_path)).end(block=2, launch="ab", may_discard=may_discard)
    assert (reason is not None) == discarded
    noted = noted_blocks(tmp_path)["ab"]
    assert noted == notes.of_launches["ab"]
    assert (noted["block"], noted["discarded"]) == (2, discarded)
    assert "2.00 times as long" in noted["disturbed"]
    assert noted["after"]["compute_seconds"] == 2e-3
