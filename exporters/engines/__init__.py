"""Engines, one file each; this registry is the one line that adds another."""

from __future__ import annotations

BUILTIN = {
    "deepsparse": "sparsebench.exporters.engines.deepsparse:DeepSparseEngine",
    "native": "sparsebench.exporters.engines.native:NativeEngine",
    "onnxruntime": "sparsebench.exporters.engines.onnxruntime:OnnxRuntimeEngine",
    "openvino": "sparsebench.exporters.engines.openvino:OpenVinoEngine",
    "torch": "sparsebench.exporters.engines.torch:TorchEngine",
    "torch-compile": "sparsebench.exporters.engines.torch_compile:TorchCompileEngine",
}
