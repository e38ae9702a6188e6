"""The faults, each with the check that nothing was lost; and the report over all of them."""

from __future__ import annotations

import builtins
import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from sparsebench.bench.present.summaries import write_page, write_summaries
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError
from tests.bench.synthetic import SyntheticRun, make_run
from tests.faults.forked import ForkedJob, warm
from tests.faults.job import Job, Running, end_session, processes_of, wait_for


@dataclass
class Tally:
    """Faults by kind: injected, survived, and what was lost."""

    injected: dict[str, int] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)

    def count(self, kind: str, wrong: list[str]) -> None:
        """One more fault."""
        self.injected[kind] = self.injected.get(kind, 0) + 1
        if wrong:
            self.lost.setdefault(kind, []).append("; ".join(wrong))

    def table(self) -> str:
        """Markdown."""
        lines = ["| fault | injected | survived | lost |", "| --- | ---: | ---: | ---: |"]
        total, gone = sum(self.injected.values()), sum(map(len, self.lost.values()))
        for kind, count in self.injected.items():
            bad = len(self.lost.get(kind, ()))
            lines.append(f"| {kind} | {count} | {count - bad} | {bad} |")
        return "\n".join([*lines, f"| all | {total} | {total - gone} | {gone} |"])


# --- faults of processes: a real run, hit once, then resumed

KILLS: dict[str, tuple[str, int]] = {
    "parent, SIGKILL": ("parent", signal.SIGKILL),
    "parent, SIGTERM": ("parent", signal.SIGTERM),
    "parent, SIGINT": ("parent", signal.SIGINT),
    "worker, SIGKILL": ("child", signal.SIGKILL),
    "worker, SIGSEGV": ("child", signal.SIGSEGV),
    "worker, SIGSTOP": ("child", signal.SIGSTOP),
    "parent, SIGHUP": ("parent", signal.SIGHUP),
    "training, SIGKILL": ("training", signal.SIGKILL),
    "training, SIGSEGV": ("training", signal.SIGSEGV),
    "training, SIGSTOP": ("training", signal.SIGSTOP),
}


def hit_process(kind: str, job: Job, rng: random.Random) -> list[str]:
    """Start the job, signal one of its processes at a random moment, and go on; what is wrong."""
    whom, number = KILLS[kind]
    if whom == "training":
        job = Job(job.root, job.images, ("full",))  # a training is a process of the whole job
    wrong = []
    process = job.start()
    try:
        victim = _victim(process, whom, rng)
        kept = job.trials()
        if victim is not None:
            os.kill(victim, number)
        if whom == "parent":
            process.wait(timeout=120)
            gone = wait_for(lambda: not processes_of(process.pid), 30)
            wrong += [] if gone else [f"left behind: {processes_of(process.pid)}"]
        else:
            said, _ = process.communicate(timeout=400)
            wrong += [f"traceback: {said[-300:]}"] if "Traceback" in said else []
    except subprocess.TimeoutExpired:
        return [f"{kind}: the run hangs"]
    finally:
        end_session(process.pid)
        process.communicate()
    code, said = job.finish()
    if code or "Traceback" in said:
        wrong.append(f"the resumed run ends with {code}: {said[-300:]}")
        return wrong
    return wrong + job.wrong(kept)


def _victim(process: Running, whom: str, rng: random.Random) -> int | None:
    if whom == "parent":
        time.sleep(rng.uniform(0.5, 15.0))
        return process.pid if process.poll() is None else None

    def others() -> list[int]:
        found = processes_of(process.pid)
        return [one for one, words in found.items() if one != process.pid and "python" in words]

    found = wait_for(lambda: others() or process.poll() is not None, 120)
    time.sleep(rng.uniform(0.0, 3.0))
    found = others()
    return rng.choice(found) if found else None


# --- faults of the disk: the files of a run, written by the same code, without engines


class FullDisk:
    """Every write fails from the n-th on, or only that one: ``ENOSPC``, half of it written."""

    def __init__(self, nth: int, once: bool) -> None:
        self.nth, self.once, self.count = nth, once, 0

    def full(self) -> bool:
        """Whether this write fails."""
        self.count += 1
        return self.count == self.nth or (not self.once and self.count > self.nth)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Patch what writes below a folder."""
        write, opened = os.write, builtins.open
        place = str(folder)

        def os_write(handle: int, data: bytes) -> int:
            try:
                below = str(Path(f"/proc/self/fd/{handle}").readlink()).startswith(place)
            except OSError:
                below = False
            if below and self.full():
                write(handle, bytes(data[: len(data) // 2]))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(handle, data)

        def open_(file: object, mode: str = "r", *rest: object, **more: object) -> object:
            writes = any(letter in mode for letter in "wax+")
            if writes and str(file).startswith(place) and self.full():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
            return opened(file, mode, *rest, **more)  # type: ignore[call-overload]

        with (
            mock.patch("os.write", os_write), mock.patch("builtins.open", open_),
            mock.patch("io.open", open_),
        ):  # fmt: skip
            yield


def write_all(path: Path, run: SyntheticRun, resume: bool = False) -> None:
    """What a run writes, in its order; what is there already is not written again."""
    with RunFolder.open(path, resume=resume) as folder:
        there = {(trial.cell, trial.block) for trial in folder.trials()}
        for trial in run.trials:
            if (trial.cell, trial.block) not in there:
                folder.append_trial(trial)
        known = {record.id for record in folder.records()}
        for record in run.records:
            if record.id not in known:
                folder.append_record(record)
        write_summaries(folder)
        write_page(folder)


def small_run() -> SyntheticRun:
    """One sparse and one dense cell, two blocks."""
    return make_run(blocks=2, engines=("torch",), workloads=("inference",),
                    backbones=("resnet18/dense", "resnet18/acdc-90"))  # fmt: skip


def fill_disk(nth: int, once: bool, path: Path) -> list[str]:
    """Fill the disk at one write, then make room and resume; what is wrong."""
    run = small_run()
    disk = FullDisk(nth, once)
    wrong = []
    try:
        with disk.watching(path):
            write_all(path, run)
    except (SparsebenchError, OSError):
        pass
    except Exception as error:
        wrong.append(f"write {nth}: {type(error).__name__}: {error}")
    return wrong + _resumed(path, run)


def tear(path: Path, rng: random.Random) -> list[str]:
    """Cut the last written file at a random byte, as a power cut does, and resume."""
    run = small_run()
    write_all(path, run)
    victim = path / rng.choice(["trials.jsonl", "records.jsonl", "comparisons.jsonl"])
    data = victim.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    cut = rng.randrange(last, len(data))
    victim.write_bytes(data[:cut] + bytes(rng.choice([0, 0, 64])))
    return _resumed(path, run)


def spoil(path: Path, rng: random.Random) -> list[str]:
    """Change one byte of a file of records: it is said, or nothing has changed."""
    run = small_run()
    write_all(path, run)
    victim = path / rng.choice(["trials.jsonl", "records.jsonl"])
    data = bytearray(victim.read_bytes())
    place = rng.randrange(len(data))
    data[place] = rng.choice([byte for byte in range(256) if byte != data[place]])
    victim.write_bytes(data)
    folder = RunFolder.reading(path)
    try:
        same = folder.trials() == run.trials and folder.records() == run.records
    except SparsebenchError:
        return []
    # A last line that lost its end is left out with a warning, and measured again.
    fewer = folder.trials() == run.trials[:-1] or folder.records() == run.records[:-1]
    return [] if same or fewer else [f"byte {place} of {victim.name} changed unnoticed"]


def _resumed(path: Path, run: SyntheticRun) -> list[str]:
    try:
        write_all(path, run, resume=True)
    except Exception as error:
        return [f"resuming: {type(error).__name__}: {error}"]
    folder = RunFolder.reading(path)
    wrong = []
    if folder.trials() != run.trials or folder.records() != run.records:
        wrong.append("trials or records differ")
    half = [one.name for one in path.iterdir() if one.name.endswith(".new")]
    return wrong + [f"half file {name}" for name in half]


# --- rivals


def two_on_one_folder(job: Job) -> list[str]:
    """A second run on a folder that is being written: refused, and the first one is complete."""
    first = job.start()
    try:
        if not wait_for(lambda: (job.run / ".lock").exists(), 120):
            return ["the first run made no folder"]
        with job.start("--resume") as second:
            said, _ = second.communicate(timeout=200)
        wrong = [] if second.returncode == 2 and "Another run" in said else [said[-300:]]
        told, _ = first.communicate(timeout=400)
    finally:
        end_session(first.pid)
    if first.returncode:
        return [*wrong, f"the first run ends with {first.returncode}: {told[-300:]}"]
    return wrong + job.wrong([])


def two_on_one_cache(
    root: Path, images: Path, kind: Callable[[Path, Path], Job] = Job
) -> list[str]:
    """Two runs that fill one cold cache at once: both complete."""
    jobs = [kind(root / name, images) for name in ("a", "b")]
    for job in jobs:
        job.root.mkdir(parents=True)
    cache = str(root / "cache")
    started = [job.start(SPARSEBENCH_CACHE=cache) for job in jobs]
    wrong = []
    for job, process in zip(jobs, started, strict=True):
        said, _ = process.communicate(timeout=400)
        if process.returncode:
            wrong.append(f"ends with {process.returncode}: {said[-300:]}")
        else:
            wrong += job.wrong([])
    return wrong


WHOLE, FORKED, FILES = (
    ("training, SIGKILL", "two runs, one cold cache", "training, SIGSEGV", "parent, SIGKILL",
     "training, SIGSTOP"),
    ("parent, SIGKILL", "worker, SIGKILL", "parent, SIGTERM", "worker, SIGSEGV", "parent, SIGINT",
     "worker, SIGSTOP", "parent, SIGHUP", "two runs, one folder", "two runs, one cold cache"),
    ("full disk, one write", "full disk", "torn file", "changed byte"),
)  # fmt: skip
"""Kinds of faults, by what they are injected into."""


def inject(count: int, seed: int, root: Path, images: Path, say: Callable[[str], None]) -> Tally:
    """Inject ``count`` faults: of 50 one into a whole job, four into forked runs, 45 into files."""
    rng = random.Random(seed)
    tally = Tally()
    warmed = False
    for number in range(count):
        path = root / f"fault-{number}"
        path.mkdir(parents=True)
        place = number % 50
        kind = _kind(number, seed)
        try:
            if place == 49 and kind in KILLS:
                wrong = hit_process(kind, Job(path, images), rng)
            elif place == 49:
                wrong = two_on_one_cache(path, images)
            elif place % 10 == 9:
                if not warmed:
                    warm(root, images)
                    warmed = True
                job = ForkedJob(path, images)
                if kind in KILLS:
                    wrong = hit_process(kind, job, rng)
                elif "folder" in kind:
                    wrong = two_on_one_folder(job)
                else:
                    wrong = two_on_one_cache(path, images, ForkedJob)
            elif kind.startswith("full"):
                wrong = fill_disk(rng.randint(1, 24), "one" in kind, path / "R")
            else:
                wrong = (tear if kind == "torn file" else spoil)(path / "R", rng)
        except subprocess.TimeoutExpired as error:  # the others are injected all the same
            wrong = [f"it had not ended after {error.timeout:.0f} s"]
        tally.count(kind, wrong)
        say(f"{number + 1}/{count} {kind}: {'; '.join(wrong) or 'survived'}")
        shutil.rmtree(path, ignore_errors=True)
    return tally


def _kind(number: int, seed: int) -> str:
    if number % 50 == 49:
        return WHOLE[(number // 50 + seed) % len(WHOLE)]
    if number % 10 == 9:
        return FORKED[(number // 10 + seed) % len(FORKED)]
    return FILES[number % len(FILES)]
