"""The process that an engine runs in: compiles, runs, and holds the clock.

It runs under any interpreter that has numpy and the engine's library, and imports
nothing of the suite but ``exporters.engines``, ``exporters.onnx.artifact`` and its own
``usage``. It is told what to do in JSON lines on standard input and answers on what was its
standard output (which libraries may not use: theirs is turned to standard error). Arrays
travel through one shared memory file whose descriptor is inherited.

Layout of the shared memory, float32: ``SLOTS`` inputs ``[B, 3, H, W]``, then ``SLOTS``
outputs ``[B, D]``.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import signal
import sys
import time
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np

from sparsebench.exporters.engines.base import (
    CompileRequest,
    EngineError,
    Session,
    UnfitNetworkError,
)
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.worker.usage import peak_resident_bytes, usage_now

SLOTS = 2
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "failed to allocate",
    "bad_alloc",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
)


def slot_arrays(
    buffer: mmap.mmap, batch_size: int, input_shape: tuple[int, ...], output_dim: int
) -> tuple[list[Any], list[Any]]:
    """Views of the shared memory: ``SLOTS`` inputs and ``SLOTS`` outputs."""
    in_count = batch_size * int(np.prod(input_shape))
    out_count = batch_size * output_dim
    inputs, outputs = [], []
    for slot in range(SLOTS):
        view = np.frombuffer(buffer, np.float32, in_count, slot * in_count * 4)
        inputs.append(view.reshape(batch_size, *input_shape))
        offset = (SLOTS * in_count + slot * out_count) * 4
        view = np.frombuffer(buffer, np.float32, out_count, offset)
        outputs.append(view.reshape(batch_size, output_dim))
    return inputs, outputs


def shared_bytes(batch_size: int, input_shape: tuple[int, ...], output_dim: int) -> int:
    """Size of the shared memory file in bytes."""
    return SLOTS * 4 * batch_size * (int(np.prod(input_shape)) + output_dim)


class Worker:
    """One engine, at most one session, and the shared arrays."""

    def __init__(self, target: str, shared_fd: int) -> None:
        module, _, attribute = target.partition(":")
        self._engine = getattr(importlib.import_module(module), attribute)()
        self._fd = shared_fd
        self._session: Session | None = None
        self._compiled: tuple[Artifact, CompileRequest] | None = None
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def available(self, message: dict[str, Any]) -> dict[str, Any]:
        """Availability of the engine under this interpreter."""
        return {"availability": asdict(self._engine.available())}

    def compile(self, message: dict[str, Any]) -> dict[str, Any]:
        """Compile a session and map the shared memory that the parent has sized."""
        artifact = Artifact.from_json(message["artifact"])
        request = CompileRequest(**message["request"])
        for kind, value, known in (
            ("precision", request.precision, self._engine.precisions),
            ("device", request.device, self._engine.devices),
        ):
            if value not in known:
                raise EngineError(
                    f"{self._engine.name} has no {kind} '{value}'; it has {', '.join(known)}"
                )
        start = time.perf_counter()
        self._session = self._engine.compile(artifact, request)
        seconds = time.perf_counter() - start
        self._compiled = (artifact, request)
        size = shared_bytes(request.batch_size, artifact.input_shape, artifact.output_dim)
        buffer = mmap.mmap(self._fd, size)
        self._inputs, self._outputs = slot_arrays(
            buffer, request.batch_size, artifact.input_shape, artifact.output_dim
        )
        described = self._session.describe()
        return {"seconds": seconds, "describe": described, "affinity": affinity()}

    def run(self, message: dict[str, Any]) -> dict[str, Any]:
        """One call on one slot; the output goes to the slot of the same number."""
        slot = int(message["slot"])
        session = self._ready()
        start = time.perf_counter()
        output = session.run(self._inputs[slot])
        seconds = time.perf_counter() - start
        expected = self._outputs[slot].shape
        if output.shape != expected:
            raise EngineError(f"the engine returned shape {output.shape}, expected {expected}")
        self._outputs[slot][...] = output
        return {"seconds": seconds}

    def time(self, message: dict[str, Any]) -> dict[str, Any]:
        """Seconds of each call in measured order, until both limits are reached.

        ``calls`` is the least number of calls, ``budget`` the least total time in
        seconds, ``most`` the greatest number of calls. With them comes what all of this
        process's threads used of the processors in that time.
        """
        session = self._ready()
        slot, calls, most = int(message["slot"]), int(message["calls"]), int(message["most"])
        budget = float(message["budget"])
        images = self._inputs[slot]
        samples: list[float] = []
        clock = time.perf_counter
        before = usage_now()
        begin = clock()
        while len(samples) < most and (len(samples) < calls or clock() - begin < budget):
            start = clock()
            session.run(images)
            samples.append(clock() - start)
        process, delay = usage_now().since(before)
        return {"seconds": samples, "process_seconds": process, "run_delay_seconds": delay}

    def usage(self, message: dict[str, Any]) -> dict[str, Any]:
        """What this process has used so far: processors by its threads, and memory."""
        now = usage_now()
        return {
            "process_seconds": now.process_seconds,
            "delays": now.delays,
            "peak_memory_bytes": peak_resident_bytes(),
        }

    def profile(self, message: dict[str, Any]) -> dict[str, Any]:
        """Seconds of each step of what is compiled; None where the engine does not tell."""
        session, compiled = self._ready(), self._compiled
        assert compiled is not None
        images, calls = self._inputs[int(message["slot"])], int(message["calls"])
        if hasattr(session, "profile"):
            layers = session.profile(images, calls)
        elif hasattr(self._engine, "profile"):
            layers = self._engine.profile(*compiled, images, calls)
        else:
            layers = None
        if layers is None:
            return {"layers": None}
        return {"layers": [layer.to_json() for layer in layers]}

    def _ready(self) -> Session:
        if self._session is None:
            raise EngineError("nothing is compiled yet")
        return self._session


def affinity() -> list[int] | None:
    """CPUs this process may use, read back from the kernel (None where it cannot tell)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return None


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, and to kill it first
    when memory runs out, so that the run itself survives."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # a hardened container may forbid it; nothing else depends on it


def serve(worker_target: str, shared_fd: int, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends or ``quit`` comes."""
    worker: Worker | None = None
    operations = ("available", "compile", "run", "time", "usage", "profile")
    for line in requests:
        message = json.loads(line)
        operation = message["op"]
        if operation == "quit":
            break
        try:
            if worker is None:
                worker = Worker(worker_target, shared_fd)
            if operation not in operations:
                raise EngineError(f"unknown operation '{operation}'")
            answer = {"ok": True, **getattr(worker, operation)(message)}
        except MemoryError as error:
            answer = {"ok": False, "kind": "memory", "error": f"out of memory: {error}"}
        except UnfitNetworkError as error:
            answer = {"ok": False, "kind": "network", "error": str(error)}
        except EngineError as error:
            answer = {"ok": False, "kind": "engine", "error": str(error)}
        except Exception as error:  # a worker reports whatever its engine raises
            kind = "memory" if is_memory_error(error) else "crash"
            answer = {"ok": False, "kind": kind, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def is_memory_error(error: Exception) -> bool:
    """Whether a library's own exception means that memory ran out."""
    text = str(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)


def main() -> None:
    """Entry point: ``sys.argv`` holds package folder, engine target, shared descriptor."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to the worker's log
    # The terminal's Ctrl-C is the parent's to handle: it closes this worker in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.argv[2], int(sys.argv[3]), sys.stdin, answers)
    answers.flush()
    os._exit(0)  # some engines hang in their own clean-up; there is nothing left to clean
