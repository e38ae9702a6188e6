"""An engine with a steady pulse, for planting a real slowdown on a busy machine.

It computes with ONNX Runtime once, remembers the answer for those images, and sleeps for a fixed
time in every call: process, clock, blocks and statistics are real, only the arithmetic is not
repeated. ``STEADY_SLOW`` lengthens the sleep of the engine named in it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.engines.base import Availability, CompileRequest, Session
from sparsebench.exporters.onnx.artifact import Artifact

SECONDS = 0.05


class SteadyEngine:
    name = "steady"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32",)
    reads = "onnx"

    def available(self) -> Availability:
        return Availability(True, version="1")

    def compile(self, artifact: Artifact, request: CompileRequest) -> SteadySession:
        from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine

        seconds = SECONDS
        where, _, factor = os.environ.get("STEADY_SLOW", "").partition("=")
        if where == self.name:
            seconds *= float(factor)
        return SteadySession(OnnxRuntimeEngine().compile(artifact, request), seconds)


class OtherSteadyEngine(SteadyEngine):
    """The yardstick: the same, never slowed."""

    name = "other-steady"


class SteadySession:
    def __init__(self, inner: Session, seconds: float) -> None:
        self.inner = inner
        self.seconds = seconds
        self.known: dict[bytes, NDArray[np.float32]] = {}

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        start = time.perf_counter()
        key = images[:, :, ::7, ::7].tobytes()
        if key not in self.known:
            self.known[key] = self.inner.run(images)
        time.sleep(max(0.0, start + self.seconds - time.perf_counter()))
        return self.known[key]

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()
