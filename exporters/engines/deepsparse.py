"""DeepSparse: the CPU engine that skips zeros. Lives in an environment of its own.

Version 1.8.0 is the last real release (the project ended in June 2025); its community
licence allows evaluation, not production. It compiles for one batch size, and its sparse
speed depends on that size (powers of two from 16 up are good). It gets pooling and layer norm in
the operators that it has kernels for (``exporters/onnx/old_forms.py``).

Of quantized graphs it executes few forms (``exporters/onnx/quantise.py`` has one). A graph that it
refuses runs inside it on a bundled ONNX Runtime 1.15, without a word: ``supported_fraction``
below 1 is the only sign.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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

LICENCE = "Neural Magic community licence: evaluation only, not production"
# Tried: the library's own message for newer files is six lines of C++.
NEWEST_OPSET, NEWEST_IR = 19, 9
SUPPORT = "ended June 2025 (1.8.0 is the last release)"


class DeepSparseEngine:
    """``deepsparse.Engine`` on the CPU, fp32, or INT8 where the graph says so."""

    name = "deepsparse"
    environment: str | None = "neuralmagic"
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32", "int8")
    reads = "onnx"
    opset = 13  # it reads newer ones, and leaves what they brought to its plain executor
    int8_form = "integer"
    licence, support, production = LICENCE, SUPPORT, False

    def available(self) -> Availability:
        """Imports the library; its own message says when the CPU is too old."""
        os.environ["NM_DISABLE_ANALYTICS"] = "1"
        install = "sparsebench engines install deepsparse"
        return library_available(self, "deepsparse", "DeepSparse", install)

    def compile(self, artifact: Artifact, request: CompileRequest) -> DeepSparseSession:
        """Compile for exactly ``request.batch_size`` images."""
        os.environ["NM_DISABLE_ANALYTICS"] = "1"
        import deepsparse

        try:
            with _readable(artifact) as path:
                engine = deepsparse.Engine(
                    path,
                    batch_size=request.batch_size,
                    num_cores=request.threads,
                    **request.options,
                )
        except (RuntimeError, ValueError, TypeError) as error:
            raise EngineError(_why(artifact, error)) from error
        return DeepSparseSession(engine)

    def profile(
        self,
        artifact: Artifact,
        request: CompileRequest,
        images: NDArray[np.float32],
        calls: int,
    ) -> list[LayerTime]:
        """Mean times of its steps, as its own analysis tells them.

        Names beginning with ``ks_`` are its kernels that skip zeros ("kernel sparsity"); "Naive
        Subgraph" is what it leaves to a plain executor.
        """
        os.environ["NM_DISABLE_ANALYTICS"] = "1"
        import deepsparse

        with _readable(artifact) as path:
            told = deepsparse.model_debug_analysis(
                path,
                [images],
                batch_size=request.batch_size,
                num_cores=request.threads,
                num_iterations=calls,
                num_warmup_iterations=3,
            )
        return [
            LayerTime(
                values=tuple(v for v in str(step["canonical_name"]).split(",") if v != "<none>"),
                kind=str(step["name"]),
                seconds=float(step["average_run_time_in_ms"]) / 1000,
                sparse=str(step["name"]).startswith("ks_"),
            )
            for step in told["layer_info"]
        ]


@contextmanager
def _readable(artifact: Artifact) -> Iterator[str]:
    """The path of the graph that it compiles: the artifact's own, or one that is gone afterwards.

    The gate compares what it computes with the checkpoint's outputs, whichever it is.
    """
    import onnx

    from sparsebench.exporters.onnx.old_forms import in_old_forms

    try:
        own = onnx.load(artifact.onnx)
        made = in_old_forms(own)
    except Exception:  # whatever is wrong with a file of the user's, the engine says itself
        own = made = onnx.ModelProto()
    if made is own:
        yield artifact.onnx
        return
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(made, file.name)
        yield file.name


def _why(artifact: Artifact, error: Exception) -> str:
    """One line; a file that is too new is told from all else that may be wrong with it."""
    opset, version = artifact.facts.get("opset"), artifact.facts.get("ir_version") or 0
    number = opset.get("ai.onnx", 0) if isinstance(opset, dict) else int(opset or 0)
    if number > NEWEST_OPSET or version > NEWEST_IR:
        return (
            f"DeepSparse reads ONNX opsets up to {NEWEST_OPSET} and IR versions up to "
            f"{NEWEST_IR}; the file has opset {number} and IR version {version}, and no exact "
            f"conversion was found. Export it with opset_version={NEWEST_OPSET} or lower."
        )
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"DeepSparse could not compile the network: {first}"


class DeepSparseSession:
    """One compiled engine."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One call of ``Engine.run``."""
        output: NDArray[np.float32] = self._engine.run([images])[0]
        return output

    def describe(self) -> dict[str, Any]:
        """Threads, supported fraction, ISA and scheduler as the engine reports them."""
        return {
            "threads": int(self._engine.num_cores),
            "supported_fraction": float(self._engine.fraction_of_supported_ops),
            "isa": str(self._engine.cpu_avx_type),
            "vnni": bool(self._engine.cpu_vnni),
            "scheduler": str(self._engine.scheduler),
        }
