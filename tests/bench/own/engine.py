"""An engine as its owner would write it: one file that the worker imports."""

from __future__ import annotations

from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine


class OwnEngine(OnnxRuntimeEngine):
    """ONNX Runtime under a name of its own."""

    name = "own-engine"
