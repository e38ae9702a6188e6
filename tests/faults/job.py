"""The job that faults are injected into: a small run of the command line, and what must hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sparsebench.bench.records import RunFolder

BACKBONE = "resnet18/uniform-90@generated"
OPTIONS = (
    "--batch-size", "8", "--threads", "1", "--epochs", "2", "--seed", "1",
)  # fmt: skip
PATIENCE = 400.0


class Running(Protocol):
    """A started run: what the harness uses of `subprocess.Popen`."""

    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """The exit code, or None."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended."""

    def communicate(self, input: str | None = None, timeout: float | None = None) -> Any:
        """What it said, when it has ended."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *failure: Any) -> None: ...


@dataclass
class Job:
    """One run, interrupted and resumed.

    Args:
        root: folder of its plan, its run ``R`` and its cache.
        images: the task.
        workloads: that it measures.
    """

    root: Path
    images: Path
    workloads: tuple[str, ...] = ("inference", "linear-cached")

    @property
    def backbone(self) -> tuple[str, ...]:
        """Options that name what is measured."""
        return "--backbone", BACKBONE, "--size", "32"

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.root / "R"

    def command(self, *more: str) -> list[str]:
        """The command line."""
        plan = self.root / "small.toml"
        # Trials are counted: none may be thrown away because the machine is busy.
        plan.write_text(
            'min_seconds = 0.01\nrepeats = 2\ncall_timeout = 20\ndiscards = 0\nrecipe = "short"\n'
            'train_epochs = 1\ntune = "off"\n'
        )
        engine = "torch" if "full" in self.workloads else "onnxruntime"
        chosen = [word for name in self.workloads for word in ("--workload", name)]
        return [
            sys.executable, "-m", "sparsebench", "run", str(plan), *self.backbone, *OPTIONS,
            "--engine", engine, *chosen, "--task", str(self.images), "--out", str(self.run),
            *more,
        ]  # fmt: skip

    def start(self, *more: str, **environment: str) -> Running:
        """Start it in a session of its own, so that what it leaves behind can be found."""
        own = {**os.environ, "SPARSEBENCH_CACHE": str(self.root / "cache"), **environment}
        return subprocess.Popen(
            self.command(*more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, env=own,
        )  # fmt: skip

    def finish(self) -> tuple[int, str]:
        """Go on until the end; exit code and what was said."""
        started = (self.run / "plan.toml").exists() or any(self.run.glob("*.jsonl"))
        with self.start(*(["--resume"] if started or self.run.exists() else [])) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def trials(self) -> list[str]:
        """Whole lines of the trials on disk."""
        path = self.run / "trials.jsonl"
        text = path.read_text() if path.exists() else ""
        return [line for line in text.split("\n")[:-1] if line]

    def wrong(self, kept: list[str]) -> list[str]:
        """What does not hold after the resumed run has ended.

        Args:
            kept: lines of finished trials that were on the disk when the fault came.
        """
        found = []
        lines = self.trials()
        if lines[: len(kept)] != kept:
            found.append("a finished trial was lost or changed")
        folder = RunFolder.reading(self.run)
        good = Counter((t.cell, t.block) for t in folder.trials() if t.status == "ok")
        cells = 2 * len(self.workloads)
        if len(good) != 2 * cells or set(good.values()) != {1}:
            found.append(f"{len(good)} trials of {2 * cells}, at most {max(good.values())} alike")
        records = folder.records()
        if len(records) != cells or any(record.status != "ok" for record in records):
            found.append(f"records: {[(r.status, r.reason) for r in records]}")
        for path in self.run.iterdir():
            if path.name.endswith((".new", ".part", ".tmp")):
                found.append(f"a half file {path.name}")
        return found


def processes_of(session: int) -> dict[int, str]:
    """Process -> command line, of a session; zombies are gone."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(entry.name)] = words
    return found


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    """What a function finds before the time is over; else its last, empty answer."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def end_session(session: int) -> list[str]:
    """Kill what a session left behind; its command lines."""
    left = processes_of(session)
    for process in left:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return list(left.values())


def note(path: Path, facts: dict[str, Any]) -> None:
    """One line of the harness's own diary."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")
