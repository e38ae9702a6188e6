"""What a run shows while it works: live on a terminal, a line now and then in a log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import sparsebench.bench.cli.progress
import sparsebench.bench.run.run
from sparsebench.bench.cli.progress import times
from sparsebench.bench.cli.run_display import RunDisplay
from sparsebench.bench.cli.sparsify_display import TrainingDisplay
from sparsebench.bench.machine.drift import Watch
from sparsebench.bench.run.pace import Pace, Reading
from sparsebench.models.sparsify.resume import Progress
from tests.bench.conftest import Result
from tests.bench.run.small import TINY

Cli = Callable[..., Result]


class Clock:
    """A clock that a test moves; the module's `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_elapsed_and_remaining_are_labelled() -> None:
    assert times(Reading(0.12, 35.2, 252.0)) == "12 %, 35 s elapsed, about 4.2 min remaining"
    assert times(Reading(0.02, 122.0, 2106.0)) == "2 %, 2.0 min elapsed, about 35 min remaining"
    assert times(Reading(0.0, 3.0, None)) == "0 %, 3 s elapsed, remaining time not known yet"
    guessed = Reading(0.01, 20.0, None, guess=500.0)
    assert times(guessed) == "1 %, 20 s elapsed, perhaps 8.3 min remaining"
    assert times(Pace().reading()).endswith("remaining time not known yet")  # seen: "100 %"
    assert times(Reading(0.999, 60.0, 0.1)).startswith("99 %")
    assert times(Reading(1.0, 60.0, 0.0)).startswith("100 %")
    assert times(Reading(1.0, 7260.0, 40.0, at_least=True)).endswith("at least 40 s remaining")


def test_a_log_gets_a_line_every_15_seconds_with_share_and_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(sparsebench.bench.cli.progress, "time", clock)
    pace = Pace([("all", dict.fromkeys("ab", "inference"), 1)], clock=clock.monotonic)
    pace.expect("all", [60.0, 60.0])
    with RunDisplay() as display:
        display.begin("mine", pace)
        pace.start("all", ["a", "b"])
        for second in range(60):
            clock.now = 1000.0 + second
            display.say(f"compiling {second}")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["0", "16", "32", "48"]
    assert all(re.match(r"\[\d+ %, .+ elapsed, about .+ remaining\] compiling", li) for li in lines)


def test_a_log_does_not_fall_silent_while_one_thing_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen: "starting native", and no further word for minutes of exporting."""
    clock = Clock()
    monkeypatch.setattr(sparsebench.bench.cli.progress, "time", clock)
    with RunDisplay() as display:
        display.say("starting")
        display.say("exporting")  # less than 15 s later
        for second in range(0, 180, 5):
            clock.now = 1000.0 + second
            display.print_line()
    lines = capsys.readouterr().err.splitlines()
    said = [line.rsplit(" ", 1)[1] for line in lines]
    assert said == ["starting", "exporting", "exporting", "exporting"]


def measured(cli: Cli, images: Path, folder: Path) -> Result:
    """A run of one engine on one tiny network and its dense baseline."""
    plan = folder / "small.toml"
    plan.write_text("repeats = 1\ndiscards = 1\n[inference]\nmin_seconds = 0.01\nepochs = 1\n")
    return cli(
        "run", plan, "--backbone", TINY, "--size", 32, "--batch-size", 4,
        "--engine", "onnxruntime", "--workload", "inference", "--task", images, "--seed", 1,
        "--threads", 1, "--out", folder / "R",
    )  # fmt: skip


def test_what_is_left_out_and_a_discarded_block_are_said(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drift rule throws the first block away: the run says so and measures it again."""
    reasons = iter(["the quota took 50% of the CPU time"])
    monkeypatch.setattr(Watch, "end", lambda self, **facts: next(reasons, None))
    lacking = "torch:bf16 is left out: no instructions."
    monkeypatch.setattr(sparsebench.bench.run.run, "left_out", lambda plan: [lacking])
    done = measured(cli, images, tmp_path)
    assert done.code == 0, done.err
    assert f"Note: {lacking}" in done.err
    said = "Block 1 is discarded and measured again: the quota took 50% of the CPU time."
    assert said in done.err


def test_a_busy_machine_is_said_before_a_run_and_with_its_result(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sparsebench.bench.comparisons.busy.busy_now", lambda: "This machine is busy."
    )
    done = measured(cli, images, tmp_path)
    assert done.err.startswith("This machine is busy.")
    assert "Said before the run: This machine is busy." in done.err


def test_a_second_training_does_not_begin_with_the_end_of_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainingDisplay() as display:
        display.stage("dense", 0, 2)
        display.progress(Progress(0, 3, 3, 1.5, 0.25, 0.0, 0.1, True))
        display.stage("sparse", 1, 2)
    lines = [line.partition("] ") for line in capsys.readouterr().err.splitlines()]
    assert [text.partition(";")[2] or text for _, _, text in lines] == [
        "reading the images",
        " measuring the accuracy",
        "reading the images",
    ]
    assert "100 %" in lines[1][0] and "about 0 s remaining" in lines[1][0]
    assert lines[2][0].startswith("[0 %")
