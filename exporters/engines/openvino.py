"""OpenVINO on the CPU (optional extra), fp32, bf16, or a graph in INT8."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from sparsebench.exporters.engines.base import (
    Availability,
    CompileRequest,
    EngineError,
    LayerTime,
    library_available,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparsebench.exporters.onnx.artifact import Artifact

# What is not quantized in the graph; fp32 is held to fp32, where its own choice would be bf16.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_READ_BACK = {"f32": "float32", "bf16": "bfloat16"}

_PRECISION = "INFERENCE_PRECISION_HINT"


class OpenVinoEngine:
    """``openvino.Core().compile_model`` with the precision stated, never left to the default."""

    name = "openvino"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8")
    reads = "onnx"
    licence, support, production = "Apache-2.0", "maintained", True

    def available(self) -> Availability:
        """Imports the library."""
        without_telemetry()
        return library_available(self, "openvino", "OpenVINO")

    def compile(self, artifact: Artifact, request: CompileRequest) -> OpenVinoSession:
        """Reshape to the batch size and compile for latency on the threads given."""
        return self._session(artifact, request)

    def profile(
        self,
        artifact: Artifact,
        request: CompileRequest,
        images: NDArray[np.float32],
        calls: int,
    ) -> list[LayerTime]:
        """Times of its nodes, from its own counters; it does not tell whether zeros are skipped."""
        import statistics

        session = self._session(artifact, request, {"PERF_COUNT": True})
        session.run(images)
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(calls):
            session.run(images)
            for node in session.counters():
                key = (str(node.node_name), str(node.node_type))
                times.setdefault(key, []).append(node.real_time.total_seconds())
        return [
            LayerTime((name,), kind, statistics.median(seconds))
            for (name, kind), seconds in times.items()
        ]

    def _session(
        self, artifact: Artifact, request: CompileRequest, extra: dict[str, Any] | None = None
    ) -> OpenVinoSession:
        without_telemetry()
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(artifact.onnx)
            model.reshape([request.batch_size, *artifact.input_shape])
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": request.threads,
                    "NUM_STREAMS": 1,
                    _PRECISION: _HINTS[request.precision],
                    "ENABLE_CPU_PINNING": False,
                    **request.options,
                    **(extra or {}),
                },
            )
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not compile the network: {error}") from error
        session = OpenVinoSession(compiled)
        wanted, found = _HINTS[request.precision], session.describe()["precision_read_back"]
        if _READ_BACK[wanted] not in found and _PRECISION not in request.options:
            raise EngineError(f"OpenVINO was told to compute in {wanted} and says {found}")
        return session


def without_telemetry() -> None:
    """Keep OpenVINO from forking a process that reports its use; it then takes its own stub."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class OpenVinoSession:
    """One compiled model and its only inference request."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One synchronous inference; input and output share memory with the engine."""
        result = self._request.infer([images], share_inputs=True, share_outputs=True)
        output: NDArray[np.float32] = result[0]
        return output

    def counters(self) -> list[Any]:
        """The nodes of the last call that were executed, with their times."""
        nodes = self._request.get_profiling_info()
        return [node for node in nodes if str(node.status).endswith("EXECUTED")]

    def describe(self) -> dict[str, Any]:
        """Threads and precision as the compiled model reports them."""
        return {
            "threads": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "supported_fraction": 1.0,
            "precision_read_back": str(self._compiled.get_property(_PRECISION)),
        }
