"""The job at a tenth of its cost: a run forked from a process that has prepared its networks.

What is tested is the machinery: the loop, the workers' processes, the folder, signals. So the
networks are two tiny ONNX files, and what every run would do alike before its first worker starts
(imports, export, verification) and after its last trial (figures, the page) is done once or not
at all. The whole job, with training, is `Job`.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self
from unittest import mock

import numpy as np

from tests.faults.job import Job, Running
from tests.models.onnx_graphs import BODY, model_of, saved, weights


def write_networks(root: Path) -> tuple[Path, Path]:
    """A sparse network and its dense baseline, 16 px."""
    from onnx import helper

    root.mkdir(parents=True, exist_ok=True)
    gemm = helper.make_node("Gemm", ["features", "w1", "b1"], ["logits"], "classifier")
    rng = np.random.default_rng(1)
    full = rng.standard_normal(weights()["w0"].shape).astype(np.float32)
    dense = saved(model_of([*BODY, gemm], stored={"w0": full}), root / "dense.onnx")
    return saved(model_of([*BODY, gemm]), root / "sparse.onnx"), dense


class ForkedRun:
    """A forked process with the part of `subprocess.Popen` that the harness uses."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid, self.output = pid, output
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        end = time.monotonic() + (timeout or 3600)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked run", timeout or 3600)
            time.sleep(0.01)
        return self.returncode or 0

    def communicate(self, input: str | None = None, timeout: float | None = None) -> Any:
        """What it said, when it has ended."""
        self.wait(timeout)
        return self.output.read_text(errors="replace"), None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


class ForkedJob(Job):
    """`Job`, but for what its processes cost."""

    networks: tuple[Path, Path]

    @property
    def backbone(self) -> tuple[str, ...]:
        """As :attr:`Job.backbone`."""
        sparse, dense = map(str, self.networks)
        return "--backbone", sparse, "--dense", f"{sparse}={dense}", "--size", "16"

    def start(self, *more: str, **environment: str) -> Running:
        """Fork: the child runs the command line in a session of its own."""
        words = self.command(*more)[3:]
        output = self.root / f"said-{time.monotonic_ns()}"
        pid = os.fork()
        if pid:
            return ForkedRun(pid, output)
        code = 70
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            file = output.open("w")
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout = sys.stderr = file
            os.environ |= {"SPARSEBENCH_CACHE": str(WARM), **environment}
            # On a cache of its own every run exports and verifies for itself.
            code = _run(words, cold=os.environ["SPARSEBENCH_CACHE"] != str(WARM))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _run(words: list[str], cold: bool) -> int:
    import traceback

    from sparsebench.bench.cli import main

    sys.argv = ["sparsebench", *words]
    nothing: Any = lambda *_, **__: []  # noqa: E731
    try:
        with (
            nullcontext()
            if cold
            else mock.patch("sparsebench.bench.run.networks.prepare", prepared),
            mock.patch("sparsebench.bench.run.execute.write_page", nothing),
            mock.patch("sparsebench.bench.present.plots.speedup_accuracy.save", nothing),
        ):
            main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@functools.cache
def _once(name: str, images: str, **settings: Any) -> Any:
    from sparsebench.bench.tasks import open_task
    from sparsebench.bench.workloads.prepared_backbone import prepare

    return prepare(name, open_task(images), **settings)


def prepared(name: str, task: Any, **settings: Any) -> Any:
    """`prepare`, done before the fork."""
    return _once(name, IMAGES, **settings)


IMAGES, WARM = "", Path()


def warm(root: Path, images: Path) -> None:
    """Import, export and verify what every forked run needs."""
    global IMAGES, WARM
    IMAGES, WARM = str(images), root / "cache"
    ForkedJob.networks = write_networks(root / "networks")
    job = ForkedJob(root / "warm", images)
    job.root.mkdir(parents=True)
    with mock.patch.dict(os.environ, SPARSEBENCH_CACHE=str(WARM)):
        for network in job.networks:
            _once(str(network), IMAGES, size=16, batch_size=8, output="features")
    import torch

    torch.set_num_threads(1)
    code, said = job.finish()
    if code:
        raise RuntimeError(said)
