"""The zoo's plans trained anew, several side by side on one device, all in as many epochs.

    python -m sparsebench.results.scripts.train_zoo --data mini-imagenet-64.tar --out zoo

Every network is what ``sparsebench sparsify --plan`` makes of its plan, at this number of epochs
and without the plan's start: methods that prune a trained network first train a dense one in half
of them. That half is the same training for all of an architecture, size and recipe, and is done
once. A small network leaves a GPU waiting for the host, so several processes share it. What lies
in the folder already is not trained again, and what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from sparsebench.models.sources.shipped import ZOO_FOLDER
from sparsebench.models.sparsify.plans import read_plan
from sparsebench.models.sparsify.two_stages import stages

PLANS = ZOO_FOLDER / "plans"
# From other weights, and of no equal training.
LEFT_OUT = ("efficientnet_lite0-gmp-70", "resnet18-dense+epochs17", "resnet18-dense+epochs30")
Start = Callable[[list[str], Path], "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Job:
    """One training: a plan's, or the dense half that others begin with.

    Attributes:
        name: of the file it makes, without its suffix.
        plan: what :func:`sparsebench.models.sparsify.plans.read_plan` would read.
        after: name of the job whose file is its dense half.
    """

    name: str
    plan: dict[str, Any]
    after: str | None = None


def jobs(names: Sequence[str], epochs: int, folder: Path = PLANS) -> list[Job]:
    """What there is to train, what others wait for first.

    Args:
        names: of plans, in the order in which they shall begin.
        epochs: of every network, both halves together.
        folder: of the plans.

    Raises:
        SparsebenchError: a plan cannot be read, or one epoch is too few for two halves.
    """
    halves: dict[str, Job] = {}
    made = []
    for name in names:
        plan = read_plan(folder / f"{name}.toml") | {"epochs": epochs}
        plan.pop("start", None)
        first, _ = stages(plan["method"], epochs, None)
        after = None
        if first:
            dense = _dense_half(plan, first)
            key = tomli_w.dumps(dense)
            half = Job(f"{plan['arch']}-half-{len(halves)}", dense)
            after = halves.setdefault(key, half).name
        made.append(Job(name, plan, after))
    return [*halves.values(), *made]


def _dense_half(plan: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The plan of what :func:`sparsebench.models.sparsify.two_stages.make` trains first."""
    kept = {k: v for k, v in plan.items() if k not in ("teacher", "block", "note", "sparseml")}
    recipe = {k: v for k, v in plan.get("recipe", {}).items() if k in ("batch_size", "sides")}
    return kept | {"method": "dense", "sparsity": 0.0, "epochs": epochs, "recipe": recipe}


def train_all(todo: Sequence[Job], out: Path, processes: int, start: Start) -> list[str]:
    """Train, so many at a time; the names of what failed or had to wait for that.

    Args:
        todo: as :func:`jobs` orders them.
        out: folder of the files, and of a plan and a log for each.
        processes: at a time.
        start: begins one, given the arguments of ``sparsify`` and the file for what it says.
    """
    waiting = [job for job in todo if not _file(out, job.name).exists()]
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed: list[str] = []
    began = time.monotonic()
    while waiting or running:
        for name, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            well = process.returncode == 0 and _file(out, name).exists()
            if not well:
                failed.append(name)
            said = "done" if well else f"failed, see {name}.log"
            print(f"{time.monotonic() - began:6.0f} s  {name}: {said}", flush=True)
        lost = [job for job in waiting if job.after in failed]
        failed += [job.name for job in lost]
        waiting = [job for job in waiting if job not in lost]
        for job in list(waiting):
            if len(running) == processes:
                break
            if job.after is not None and not _file(out, job.after).exists():
                continue
            waiting.remove(job)
            running[job.name] = _begun(job, out, start)
        time.sleep(0.2)
    return failed


def _begun(job: Job, out: Path, start: Start) -> subprocess.Popen[bytes]:
    plan, file = out / f"{job.name}.toml", _file(out, job.name)
    plan.write_text(tomli_w.dumps(job.plan))
    if job.after is not None:  # where `make` looks for its first stage
        shutil.copy(_file(out, job.after), file.with_name(f"{job.name}.dense.safetensors"))
    return start(["--plan", str(plan), "--out", str(file)], out / f"{job.name}.log")


def _file(out: Path, name: str) -> Path:
    return out / f"{name}.safetensors"


def _starter(data: Path, more: Sequence[str]) -> Start:
    # A thread each: beside so many others, more would only wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sparsebench", "sparsify", *arguments, *more]
        command += ["--data", str(data)]
        with log.open("ab") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, env=environment)

    return start


def main() -> None:
    """Train what the folder lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="plans, in order (default: all of ResNet-18)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="fuse the networks first")
    given = parser.parse_args()
    names = given.names or [p.stem for p in sorted(PLANS.glob("*.toml")) if p.stem not in LEFT_OUT]
    given.out.mkdir(parents=True, exist_ok=True)
    more = ["--device", given.device, "--compile" if given.compile else "--no-compile"]
    start = _starter(given.data, more)
    failed = train_all(jobs(names, given.epochs), given.out, given.processes, start)
    sys.exit(f"not trained: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
