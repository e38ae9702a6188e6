"""ONNX Runtime on the CPU (and CUDA where its provider is installed), fp32 or a graph in INT8."""

from __future__ import annotations

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

WARM_CALLS = 3
_KERNEL = "_kernel_time"
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeEngine:
    """``onnxruntime.InferenceSession`` with all graph optimizations."""

    name = "onnxruntime"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    precisions: tuple[str, ...] = ("fp32", "int8")
    reads = "onnx"
    licence, support, production = "MIT", "maintained", True

    def available(self) -> Availability:
        """Imports the library."""
        return library_available(self, "onnxruntime", "ONNX Runtime")

    def compile(self, artifact: Artifact, request: CompileRequest) -> OnnxRuntimeSession:
        """One session; intra-op threads as told, one inter-op thread, sequential."""
        return self._session(artifact, request)

    def profile(
        self,
        artifact: Artifact,
        request: CompileRequest,
        images: NDArray[np.float32],
        calls: int,
    ) -> list[LayerTime]:
        """Times of its nodes, from its own profiler; it does not tell whether zeros are skipped."""
        import json
        import statistics
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            session = self._session(artifact, request, str(Path(folder) / "profile"))
            for _ in range(calls + WARM_CALLS):
                session.run(images)
            events = json.loads(Path(session.end_profiling()).read_text())
        times: dict[tuple[str, str], list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and str(event["name"]).endswith(_KERNEL):
                value = str(event["name"]).removesuffix(_KERNEL).removesuffix("_nchwc")
                key = (value, str(event["args"].get("op_name", "")))
                times.setdefault(key, []).append(event["dur"] / 1e6)
        return [
            LayerTime((value,), kind, statistics.median(seconds[WARM_CALLS:] or seconds))
            for (value, kind), seconds in times.items()
        ]

    def _session(
        self, artifact: Artifact, request: CompileRequest, profile: str = ""
    ) -> OnnxRuntimeSession:
        import onnxruntime

        provider = _PROVIDERS[request.device]
        if provider not in onnxruntime.get_available_providers():
            raise EngineError(f"this ONNX Runtime has no {provider}; install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = request.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        for key, value in request.options.items():
            options.add_session_config_entry(key, str(value))
        try:
            session = onnxruntime.InferenceSession(artifact.onnx, options, providers=[provider])
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(f"ONNX Runtime could not load the network: {error}") from error
        # Without CUDA's libraries it takes the CPU and says so in a log only.
        if session.get_providers()[0] != provider:
            raise EngineError(f"ONNX Runtime could not use {provider}; are CUDA's libraries there?")
        return OnnxRuntimeSession(session, options)


class OnnxRuntimeSession:
    """One inference session."""

    def __init__(self, session: Any, options: Any) -> None:
        self._session = session
        self._options = options
        self._input = session.get_inputs()[0].name

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One call of ``InferenceSession.run``."""
        output: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        return output

    def end_profiling(self) -> str:
        """Path of the profile that was written."""
        return str(self._session.end_profiling())

    def describe(self) -> dict[str, Any]:
        """Threads as set in the session, and the provider in use."""
        return {
            "threads": int(self._options.intra_op_num_threads),
            "supported_fraction": 1.0,
            "provider": self._session.get_providers()[0],
        }
