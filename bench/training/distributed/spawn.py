"""The processes of one training: the first starts the others, and speaks for all of them.

They are children of the first in its process group: whoever ends that group ends all, and when the
first dies the kernel ends the others. A process that fails is a reason, told once; the others
that then miss it in their next sum are not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparsebench.bench.training.job import Job
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.bench.training.distributed.group import Group

PLACE = "SPARSEBENCH_TRAINING_PROCESS"
"""In the environment of the others: ``RANK:PORT``."""
COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "sparsebench.bench.training.process")
_LOOPBACK = "127.0.0.1"
# How long the first failure waits for one that explains it.
_PATIENCE = 3.0
_ENDING = 60.0


def is_first() -> bool:
    """Whether this process speaks for a training."""
    return PLACE not in os.environ


class OthersFailedError(Exception):
    """Another process of the training failed; :attr:`answer` is its reason, as it is answered."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["error"])
        self.answer = answer


@dataclass
class Others:
    """All processes of a training but the first, seen from there.

    Args:
        count: processes of the training, the first included.
    """

    count: int
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _failed: threading.Event = field(default_factory=threading.Event)
    _killed: bool = False

    def start(self, job_text: str, port: int, on_failure: Any) -> None:
        """Start them; they come to the first one's store.

        Args:
            job_text: the job.
            port: of the store.
            on_failure: called once with an answer when one failed; in a thread.
        """
        for rank in range(1, self.count):
            process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, PLACE: f"{rank}:{port}"},
            )
            assert process.stdin is not None
            try:
                process.stdin.write(job_text)
                process.stdin.close()
            except BrokenPipeError:
                pass  # its end is noticed below
            self.processes.append(process)
            thread = threading.Thread(target=self._watch, args=(rank, process), daemon=True)
            thread.start()
            self._threads.append(thread)
        threading.Thread(target=self._report, args=(on_failure,), daemon=True).start()

    def reason(self) -> dict[str, Any] | None:
        """Why another process failed, once all that fail with it had time to; None: none did."""
        if not self._failed.wait(_PATIENCE):
            return None
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and any(t.is_alive() for t in self._threads):
            time.sleep(0.05)
        return min(self.failures, key=lambda one: int(one["rank_of_reason"]))

    def end(self) -> None:
        """Wait for them.

        Raises:
            SparsebenchError: one does not end.
        """
        for process in self.processes:
            try:
                process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                raise SparsebenchError("A process of the training does not end.") from None

    def kill(self) -> None:
        """End those that still run: this process has a reason of its own to end, or none."""
        self._killed = True
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _watch(self, rank: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        said: dict[str, Any] = {}
        for line in process.stdout:
            answer = json.loads(line)
            if "error" in answer:
                said = answer
        code = process.wait()
        if not code or self._killed:
            return
        name = f"process {rank + 1} of {self.count}"
        died = f"{name} of the training died of signal {-code}"
        memory = bool(said.get("memory")) or (not said and code == -9)
        text = said.get("error") or (died if code < 0 else f"{name} of the training failed")
        if said.get("error") and not said.get("fix"):
            text = f"{text} ({name})"
        self.failures.append(
            {
                "error": text,
                "fix": said.get("fix", ""),
                "memory": memory,
                "rank_of_reason": _rank_of_reason(said, code),
            }
        )
        self._failed.set()

    def _report(self, on_failure: Any) -> None:
        self._failed.wait()
        found = self.reason()
        assert found is not None
        on_failure(found)


def _rank_of_reason(said: dict[str, Any], code: int) -> int:
    """How well a failure explains the others: 0 best, 3 least."""
    if said.get("fix"):
        return 0
    if said.get("memory") or code < 0:
        return 1
    text = str(said.get("error", "")).lower()
    return 3 if not text or any(word in text for word in ("connection", "gloo", "nccl")) else 2


@contextmanager
def together(job: Job, job_text: str, on_failure: Any) -> Iterator[Group | None]:
    """The processes of a job, joined; None where it has one.

    Args:
        job: what to do; ``processes`` and ``device`` count.
        job_text: the same, for the others.
        on_failure: called in a thread of the first process with an answer when another one
            failed; it must end the process, which waits for what will never come.

    Raises:
        SparsebenchError: not as many GPUs as processes.
        OthersFailedError: another process failed, and this one noticed.
    """
    if job.processes == 1:
        yield None
        return
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import TCPStore

    gpu = job.device.startswith("cuda")
    if gpu and torch.cuda.device_count() < job.processes:
        raise SparsebenchError(
            f"{job.processes} processes need as many GPUs; this machine has "
            f"{torch.cuda.device_count()}.",
            "Take fewer --processes, or --device cpu.",
        )
    if sys.platform == "linux":  # no name of the host needs to be known to anyone
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    others = Others(job.processes)
    if is_first():
        rank = 0
        store = TCPStore(_LOOPBACK, 0, is_master=True, wait_for_workers=False)
        others.start(job_text, store.port, on_failure)
    else:
        rank, port = map(int, os.environ[PLACE].split(":"))
        store = TCPStore(_LOOPBACK, port, is_master=False)
    try:
        yield _joined(job, rank, store)
        others.end()
    except RuntimeError as error:  # as PyTorch says that another process is gone
        found = others.reason() if rank == 0 else None
        if found is None:
            raise
        raise OthersFailedError(found) from error
    finally:
        others.kill()
        if dist.is_initialized():
            dist.destroy_process_group()


def _joined(job: Job, rank: int, store: Any) -> Group:
    import torch
    import torch.distributed as dist

    from sparsebench.bench.training.distributed.group import Group

    gpu = job.device.startswith("cuda")
    device = f"cuda:{rank}" if gpu else job.device
    if gpu:
        torch.cuda.set_device(device)
    backend = "nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=job.processes)
    return Group(
        rank=rank,
        size=job.processes,
        device=device,
        batch_norm=job.batch_norm,
        gradients=dist.new_group(),
        statistics=dist.new_group(),
    )
