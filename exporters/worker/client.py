"""The parent's side of an engine worker: start, compile, feed, time, survive its death."""

from __future__ import annotations

import json
import mmap
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.engines.base import Availability, CompileRequest, LayerTime
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.worker.usage import Usage
from sparsebench.exporters.worker.worker import SLOTS, shared_bytes, slot_arrays

# Only `exporters` is visible to the worker: putting the suite's own folder on the path of
# another interpreter would show it our numpy as well.
_BOOTSTRAP = (
    # `-c` puts the working directory first: a project's own `types.py` or `models/` must not load.
    "import sys; sys.path[:] = [p for p in sys.path if p]; import types; "
    "p = types.ModuleType('sparsebench'); p.__path__ = [sys.argv[1]]; "
    "sys.modules['sparsebench'] = p; from sparsebench.exporters.worker.worker import main; main()"
)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_ASSERTED = re.compile(r"\s*Assertion (at|failed)\b|.*: Assertion .* failed\.")
START_TIMEOUT = 120.0
CALL_TIMEOUT = 600.0


class WorkerFailed(Exception):  # noqa: N818  (it is an outcome that becomes a record)
    """A worker that crashed, hung, ran out of memory or was refused by its engine.

    Attributes:
        kind: ``engine``, ``network`` (:class:`UnfitNetworkError`), ``memory``, ``crash`` or
            ``timeout``.
        reason: one sentence for the record.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True)
class Visit:
    """Repeated calls on a loaded slot, by the worker's clocks.

    Attributes:
        seconds: wall time of each call, in order.
        process_seconds: processor time of all the worker's threads, over all calls together.
        run_delay_seconds: for how long its threads waited for a processor meanwhile, all
            together; None where the system does not tell.
    """

    seconds: tuple[float, ...]
    process_seconds: float
    run_delay_seconds: float | None


class EngineWorker:
    """One engine in one fresh process; feeds it batches through shared memory.

    Args:
        target: ``"module:Class"`` of the engine.
        threads: CPU threads; the worker's affinity is set to as many CPUs.
        first_cpu: place of the first of them among those that this process may use.
        interpreter: Python that has the engine's library (default: this one).
        environ: further environment variables.

    Raises:
        WorkerFailed: the process did not start.
    """

    def __init__(
        self,
        target: str,
        *,
        threads: int,
        first_cpu: int = 0,
        interpreter: str | None = None,
        environ: Mapping[str, str] | None = None,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.threads = threads
        self.call_timeout = call_timeout
        self.batch_size = 0
        self.feature_dim = 0
        self.input_shape: tuple[int, int, int] = (3, 0, 0)
        self.describe: dict[str, Any] = {}
        self._pending: deque[tuple[int, int]] = deque()
        self._next_slot = 0
        self._inputs: list[NDArray[np.float32]] = []
        self._outputs: list[NDArray[np.float32]] = []
        shared_memory = "/dev/shm"
        folder = shared_memory if os.access(shared_memory, os.W_OK) else None
        # Nameless files: nothing to leave behind. They live as long as the worker.
        self._shared = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        environment = {
            # The parent's own PYTHONPATH is about another interpreter.
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            "NM_DISABLE_ANALYTICS": "1",
            **(environ or {}),
        }
        descriptor = self._shared.fileno()
        package = str(Path(__file__).parents[2])
        command = [interpreter or sys.executable, "-c", _BOOTSTRAP, package, target]
        try:
            self._process = subprocess.Popen(
                [*command, str(descriptor)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerFailed("crash", f"{command[0]} could not be started: {error}") from error
        if cpus:
            try:
                os.sched_setaffinity(self._process.pid, cpus[first_cpu : first_cpu + threads])
            except OSError:
                pass  # it died already; the first request says why
        self._unread = b""

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def available(self) -> Availability:
        """Availability of the engine under the worker's interpreter."""
        self.ask_available()
        return self.answer_available()

    def ask_available(self) -> None:
        """Make the worker import its library; :meth:`answer_available` waits for it."""
        self._send({"op": "available"})

    def answer_available(self) -> Availability:
        """The answer to :meth:`ask_available`."""
        return Availability(**self._answer(START_TIMEOUT)["availability"])

    def compile(self, artifact: Artifact, request: CompileRequest) -> dict[str, Any]:
        """Compile a session; the worker is then ready for batches.

        Returns:
            ``seconds`` of compiling, ``describe`` of the session, ``affinity`` read back.

        Raises:
            WorkerFailed: the engine refuses, crashes, hangs, or runs with another number
                of threads than it was told.
        """
        size = shared_bytes(request.batch_size, artifact.input_shape, artifact.output_dim)
        try:
            os.ftruncate(self._shared.fileno(), size)
            if hasattr(os, "posix_fallocate"):
                # Reserve the pages now: a full /dev/shm would be a SIGBUS later.
                os.posix_fallocate(self._shared.fileno(), 0, size)
            buffer = mmap.mmap(self._shared.fileno(), size)
        except OSError as error:
            raise WorkerFailed(
                "memory",
                f"no shared memory for batch size {request.batch_size} "
                f"({size / 2**20:.0f} MiB: {error.strerror}); take a smaller --batch-size",
            ) from error
        message = {
            "op": "compile",
            "artifact": artifact.to_json(),
            "request": {
                "batch_size": request.batch_size,
                "threads": request.threads,
                "precision": request.precision,
                "device": request.device,
                "options": request.options,
            },
        }
        answer = self._ask(message, self.call_timeout)
        self.batch_size, self.feature_dim = request.batch_size, artifact.output_dim
        self.input_shape = artifact.input_shape
        self._inputs, self._outputs = slot_arrays(
            buffer, request.batch_size, artifact.input_shape, artifact.output_dim
        )
        self.describe = answer["describe"]
        threads = self.describe.get("threads")
        if threads is not None and threads != request.threads:
            raise WorkerFailed(
                "engine", f"was told to use {request.threads} threads and uses {threads}"
            )
        return answer

    def submit(self, images: NDArray[np.float32]) -> None:
        """Hand over a batch ``[n, 3, H, W]``, n at most the batch size; does not wait.

        A partial batch is padded to the compiled size with its own first image, so
        that it costs what a full one costs and computes on real values.

        Raises:
            ValueError: too many images or a wrong shape.
            RuntimeError: both slots are in flight.
        """
        count = len(images)
        if not 0 < count <= self.batch_size or images.shape[1:] != self.input_shape:
            raise ValueError(
                f"images {images.shape} do not fit batch {self.batch_size} x {self.input_shape}"
            )
        slot = self.load(images)
        self._send({"op": "run", "slot": slot})
        self._pending.append((slot, count))

    def load(self, images: NDArray[np.float32]) -> int:
        """Copy a batch into the next free slot, padded; returns the slot."""
        if len(self._pending) >= SLOTS:
            raise RuntimeError("both slots are in flight; collect first")
        slot = self._next_slot
        self._next_slot = (slot + 1) % SLOTS
        self._inputs[slot][: len(images)] = images
        self._inputs[slot][len(images) :] = images[:1]
        return slot

    def collect(self) -> tuple[NDArray[np.float32], float]:
        """Outputs ``[n, D]`` (a copy) of the oldest batch, and seconds inside the engine."""
        slot, count = self._pending.popleft()
        answer = self._answer(self.call_timeout)
        return self._outputs[slot][:count].copy(), float(answer["seconds"])

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs ``[n, D]`` of one batch, waited for."""
        self.submit(images)
        return self.collect()[0]

    def call(self, slot: int) -> float:
        """One call on a loaded slot, waited for; seconds inside the engine."""
        return float(self._ask({"op": "run", "slot": slot}, self.call_timeout)["seconds"])

    def time(self, slot: int, *, calls: int, budget: float, most: int) -> list[float]:
        """Seconds of repeated calls on a loaded slot, by the worker's clock, in order."""
        return list(self.visit(slot, calls=calls, budget=budget, most=most).seconds)

    def visit(self, slot: int, *, calls: int, budget: float, most: int) -> Visit:
        """As :meth:`time`, by both clocks."""
        message = {"op": "time", "slot": slot, "calls": calls, "budget": budget, "most": most}
        answer = self._ask(message, self.call_timeout + budget)
        return Visit(
            tuple(float(second) for second in answer["seconds"]),
            float(answer["process_seconds"]),
            answer["run_delay_seconds"],
        )

    def usage(self) -> tuple[Usage, int]:
        """What the worker has used so far, and its peak resident memory in bytes.

        Only while no batch is in flight.
        """
        answer = self._ask({"op": "usage"}, self.call_timeout)
        delays = answer["delays"]
        told = None if delays is None else {int(key): value for key, value in delays.items()}
        return Usage(float(answer["process_seconds"]), told), int(answer["peak_memory_bytes"])

    def profile(self, slot: int, *, calls: int) -> list[LayerTime] | None:
        """Seconds of each step on a loaded slot; None where the engine does not tell.

        Raises:
            WorkerFailed: the engine failed at it.
        """
        message = {"op": "profile", "slot": slot, "calls": calls}
        layers = self._ask(message, self.call_timeout)["layers"]
        if layers is None:
            return None
        return [LayerTime(**{**one, "values": tuple(one["values"])}) for one in layers]

    def close(self) -> None:
        """End the process; asks first, then kills. Never raises."""
        if self._process.poll() is None and not self._pending:
            try:
                self._send({"op": "quit"})
                self._process.wait(timeout=5)
            except (WorkerFailed, subprocess.TimeoutExpired):
                pass
        self._kill()
        for stream in (self._process.stdin, self._process.stdout, self._shared, self._log):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # a pipe to a dead process has nothing left to flush

    def __enter__(self) -> EngineWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        self._send(message)
        return self._answer(timeout)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise self._death() from error

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._kill()
                    raise WorkerFailed("timeout", f"no answer in {timeout:.0f} s; it was stopped")
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise self._death()
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise WorkerFailed(answer["kind"], answer["error"])
        return answer

    def _death(self) -> WorkerFailed:
        """What became of a process that no longer answers."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._kill()
            code = self._process.returncode
        said = self.log_tail()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            if -code == signal.SIGKILL:
                return WorkerFailed(
                    "memory", "was killed (SIGKILL), most likely because memory ran out"
                )
            return WorkerFailed("crash", f"crashed with {name}{said}")
        return WorkerFailed("crash", f"ended with exit code {code}{said}")

    def log_tail(self, lines: int = 3) -> str:
        """What the worker printed of its end, ready to append to a sentence.

        The line that names a failed assertion, where a library says so in front of its backtrace;
        else the last lines.
        """
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip().splitlines()
        asserted = [line.strip() for line in text if _ASSERTED.match(line)]
        return ": " + " | ".join(asserted[-1:] or text[-lines:]) if text else ""

    def _kill(self) -> None:
        """End the worker and whatever it has forked (some libraries do) with it."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                self._process.kill()
        self._process.wait()
