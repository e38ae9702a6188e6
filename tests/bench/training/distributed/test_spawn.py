"""Processes of one training: a failure is told once, with its reason, and leaves no orphan."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from sparsebench.bench.training.distributed import spawn
from sparsebench.bench.training.distributed.spawn import Others
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.launch import run_job
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError

LOST = "print(json.dumps({'error': 'Connection closed by peer', 'fix': '', 'memory': False}))"


def job(images: Path) -> Job:
    return Job(
        backbone="resnet18/gmp-90",
        task=str(images),
        task_options={},
        preprocessing=Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        recipe=TrainRecipe("short", 1, 0.02, 12),
        seeds=(4,),
        validation=0.2,
        device="cpu",
        precision="fp32",
        threads=1,
        tune=False,
        processes=2,
    )


def rest_of(run: psutil.Process, known: set[int]) -> list[psutil.Process]:
    return [one for one in run.children(recursive=True) if one.pid not in known]


@pytest.mark.skipif(sys.platform != "linux", reason="environments of processes are read in /proc")
@pytest.mark.parametrize("how", ["killed", "Ctrl-C"])
def test_no_process_is_left_behind(images: Path, how: str) -> None:
    run = psutil.Process()
    known = {one.pid for one in run.children(recursive=True)}
    seen: list[psutil.Process] = []

    def say(text: str) -> None:
        if seen or text != "opening the task":  # they are joined
            return
        seen.extend(rest_of(run, known))
        if how == "Ctrl-C":
            raise KeyboardInterrupt
        (other,) = [one for one in seen if spawn.PLACE in one.environ()]
        other.send_signal(signal.SIGSEGV)

    if how == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            run_job(job(images), timeout=300, say=say)
    else:
        with pytest.raises(SparsebenchError, match="process 2 of 2 of the training died of signal"):
            run_job(job(images), timeout=300, say=say)
    assert len(seen) == 2
    _, alive = psutil.wait_procs(seen, timeout=10)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_both_say_the_same_mistake_and_it_is_told_once(images: Path) -> None:
    wrong = replace(job(images), task="nowhere/at/all")
    with pytest.raises(SparsebenchError, match=r"^There is no folder.*nowhere") as told:
        run_job(wrong, timeout=300, say=lambda text: None)
    assert "process" not in str(told.value)


def failures(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str, count: int) -> Any:
    """What is told of processes that do this; ``rank`` is their number."""
    script = folder / "process.py"
    script.write_text(
        f"import json, os, signal, sys, time\nrank = int(os.environ[{spawn.PLACE!r}][0])\n{body}"
    )
    monkeypatch.setattr(spawn, "COMMAND", (sys.executable, str(script)))
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    others = Others(count)
    others.start("{}", 0, told.put)
    try:
        return told.get(timeout=60)
    finally:
        others.kill()


@pytest.mark.parametrize(
    ("cause", "text", "memory"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "process 3 of 3 of the training died of", False),
        ("os.kill(os.getpid(), signal.SIGKILL)", "process 3 of 3 of the training died of", True),
        (
            "print(json.dumps({'error': 'no room', 'fix': '', 'memory': True})); sys.exit(2)",
            "no room (process 3 of 3)",
            True,
        ),
        (
            "print(json.dumps({'error': 'bad name', 'fix': 'Take x.'})); sys.exit(2)",
            "bad name",
            False,
        ),
    ],
)
def test_the_reason_is_told_and_not_that_others_miss_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cause: str, text: str, memory: bool
) -> None:
    body = f"if rank == 1:\n    {LOST}\n    sys.exit(2)\n{cause}\n"
    told = failures(monkeypatch, tmp_path, body, 3)
    assert told["error"].startswith(text) and told["memory"] is memory


def test_those_that_are_ended_are_no_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spawn, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    others = Others(2)
    others.start("{}", 0, lambda answer: os._exit(9))
    others.kill()
    until = time.monotonic() + 10
    while time.monotonic() < until and any(t.is_alive() for t in others._threads):
        time.sleep(0.01)
    assert others.failures == []
