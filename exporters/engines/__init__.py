"""Engines, one file each; this registry is the one line that adds another."""

from __future__ import annotations

BUILTIN = {
    "deepsparse": "exporters.engines.deepsparse:DeepSparseEngine",
    "native": "exporters.engines.native:NativeEngine",
    "onnxruntime": "exporters.engines.onnxruntime:OnnxRuntimeEngine",
    "openvino": "exporters.engines.openvino:OpenVinoEngine",
    "torch": "exporters.engines.torch:TorchEngine",
    "torch-compile": "exporters.engines.torch_compile:TorchCompileEngine",
}
