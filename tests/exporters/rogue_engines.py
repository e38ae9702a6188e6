"""Engines that misbehave in every way an engine can; loaded by name inside workers."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.engines.base import Availability, CompileRequest, EngineError, Session
from sparsebench.exporters.onnx.artifact import Artifact


class Good:
    """Returns the mean of each image in every output; sleeps if told to."""

    name = "good"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32",)
    reads = "onnx"

    def available(self) -> Availability:
        return Availability(True, version="1")

    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        return GoodSession(artifact, request)


class GoodSession:
    def __init__(self, artifact: Artifact, request: CompileRequest) -> None:
        self.outputs = artifact.output_dim
        self.request = request

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(float(self.request.options.get("sleep", 0.0)))
        means = images.mean((1, 2, 3), dtype=np.float32)
        return np.repeat(means[:, None], self.outputs, axis=1)

    def describe(self) -> dict[str, Any]:
        return {
            "threads": self.request.threads,
            "environ": dict(os.environ),
            **self.request.options,
        }


class Segfaults(Good):
    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        ctypes.string_at(0)
        raise AssertionError("not reached")


class Asserts(Good):
    """As DeepSparse does: a backtrace and where to send it come behind what happened."""

    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        told = "Cores: [2, 1, 2]\n\nAssertion at src/gemm_utils.cpp:68\n\nBacktrace:\n 1# 0x0:\n"
        os.write(2, (told + "    [ff48]\n\nPlease email a copy of this to: nobody\n").encode())
        os._exit(1)


class Hangs(Good):
    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        time.sleep(3600)
        raise AssertionError("not reached")


class OutOfMemory(Good):
    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        raise MemoryError("Unable to allocate 1. EiB")


class KilledByKernel(Good):
    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")


class Refuses(Good):
    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        raise EngineError("unsupported operator Foo")


class Chatty(Good):
    """Prints on both streams, as native libraries do."""

    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        print("a banner on standard output")
        os.write(1, b"and one past Python's own stream\n")
        os.write(2, b"warning: something\n")
        return GoodSession(artifact, request)


class Greedy(Good):
    """Uses another number of threads than it was told."""

    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        return GoodSession(artifact, CompileRequest(request.batch_size, request.threads + 7))


class Broken(Good):
    """Its library is installed but does not import."""

    def available(self) -> Availability:
        from sparsebench.exporters.engines.base import library_failed

        try:
            raise ImportError("libfoo.so.1: cannot open shared object file")
        except ImportError as error:
            return library_failed("Foo", error, "uv pip install foo")


class DiesMidway:
    """Passes the gate and the first calls, then crashes as native code does."""

    name = "dies-midway"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32",)
    reads = "onnx"

    def available(self) -> Availability:
        return Availability(True, version="1")

    def compile(self, artifact: Artifact, request: CompileRequest) -> DyingSession:
        from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine

        return DyingSession(OnnxRuntimeEngine().compile(artifact, request))


class DyingSession:
    def __init__(self, inner: Session) -> None:
        self.inner = inner
        self.calls = 0

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls += 1
        if self.calls > 5:
            os.kill(os.getpid(), signal.SIGSEGV)
        return self.inner.run(images)

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()


class ComputesWrongly(Good):
    """Runs without complaint and returns nonsense."""


class Forks(Good):
    """Leaves a child behind, as libraries that report their use do."""

    def compile(self, artifact: Artifact, request: CompileRequest) -> GoodSession:
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        return GoodSession(artifact, CompileRequest(4, 1, options={"child": child}))
