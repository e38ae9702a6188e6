"""A training that works says so, however long its epochs are; one that hangs does not."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TextIO, cast

import pytest

from sparsebench.bench.training import process
from sparsebench.bench.training.heartbeat import EVERY_SECONDS, Heartbeat, seconds_between
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.steps import StepRunner
from sparsebench.models.cards import Preprocessing
from tests.bench.training.small import SPARSE

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Words:
    """What the process answers, with the time of each line."""

    def __init__(self) -> None:
        self.said: list[tuple[float, str]] = []

    def write(self, line: str) -> None:
        if line.startswith("{"):
            self.said.append((time.monotonic(), json.loads(line).get("say", "")))

    def flush(self) -> None:
        pass


def test_a_word_is_let_through_every_few_seconds() -> None:
    said: list[str] = []
    now = iter([0.0, 1.0, 5.0, 5.0, 9.0, 9.5, 14.0, 14.5, 14.5])
    beat = Heartbeat(said.append, every=5.0, now=lambda: next(now))
    beat("at 1")
    beat("at 5")
    beat("at 9")
    beat.say("at 9.5, said at once")
    beat("at 14")
    beat("at 14.5")
    assert said == ["at 5", "at 9.5, said at once", "at 14.5"]


def test_several_words_come_before_the_process_counts_as_hung() -> None:
    assert seconds_between(600) == EVERY_SECONDS
    assert seconds_between(2) == 0.5


def test_an_epoch_longer_than_the_timeout_is_no_hang(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: a healthy training counted as hung when an epoch took longer than the timeout."""
    timeout, step = 1.6, StepRunner.step

    def slow(self: StepRunner, *values: object) -> object:
        time.sleep(0.3)
        return step(self, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(StepRunner, "step", slow)
    job = Job(
        backbone=SPARSE,
        task=str(images),
        task_options={},
        preprocessing=CARD,
        recipe=TrainRecipe("short", 1, 0.02, 2),
        seeds=(4,),
        validation=0.2,
        device="cpu",
        precision="fp32",
        threads=1,
        tune=False,
        word_every=seconds_between(timeout),
    )
    words = Words()
    process._work(job, cast(TextIO, words))
    times = [at for at, _ in words.said]
    texts = [text for _, text in words.said]
    first = next(i for i, text in enumerate(texts) if ", step " in text)
    last = next(i for i, text in enumerate(texts) if "loss" in text)
    assert times[last] - times[first] > timeout and last > first + 2
    assert max(after - before for before, after in pairwise(times[first:])) < timeout
    assert texts[first].startswith("epoch 1/1, step ") and texts[first].endswith("/10")
