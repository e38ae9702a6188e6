"""A graph in the older version of ONNX that every engine here reads, where that is exact.

torch's exporter writes opset 20 and IR version 10; DeepSparse 1.8.0 reads opsets up to 19 and IR
versions up to 9 (both tried). The converter of the onnx package knows which operators kept their
meaning; that it was right is proven by running both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.running import run_session, session_of

MOST_OPSET, MOST_IR = 19, 9
# The lower the better for old readers; the nearer the more can be converted.
_TARGETS = (17, 18, 19)
# Rounding of float32 in another order; anything above is another network.
_EXACT = 1e-5
_NEWER_TYPES = range(onnx.TensorProto.UINT4, 64)


def lowered(
    model: onnx.ModelProto, images: NDArray[np.float32], expected: NDArray[np.float32]
) -> onnx.ModelProto:
    """The model with opset and IR version that old engines read, or itself.

    Args:
        model: any graph from images to one output.
        images: ``[n, 3, H, W]`` that both are run on.
        expected: shape of the output; what the model gives is computed again.
    """
    low = _with_low_ir(model)
    if _opset(low) <= MOST_OPSET:
        return low
    try:
        before = _run(model, images)
    except SparsebenchError:
        return model
    scale = max(float(np.abs(expected).max()), 1e-30)
    for target in _TARGETS:
        try:
            converted = version_converter.convert_version(model, target)
            converted = _with_low_ir(converted)
            after = _run(converted, images)
        except Exception:  # the converter raises RuntimeError or its own, by operator
            continue
        same_shape = after.shape == before.shape
        if same_shape and float(np.abs(after - before).max()) <= _EXACT * scale:
            return converted
    return low


def _with_low_ir(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph under an older IR version, unless it holds types that are newer."""
    newer = any(tensor.data_type in _NEWER_TYPES for tensor in model.graph.initializer)
    if model.ir_version <= MOST_IR or newer:
        return model
    low = onnx.ModelProto()
    low.CopyFrom(model)
    low.ir_version = MOST_IR
    return low


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _run(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    path = Path("the lowered graph")
    return run_session(session_of(model, path), [model.graph.output[0].name], images, path)[0]
