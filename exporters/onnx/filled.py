"""A copy of an artifact whose zeros are filled: the same network, dense.

What an engine's time owes to the zeros is the time of this copy over its own: same operators,
same shapes, nearly the same values. It needs no dense baseline, which a file from elsewhere may
not have.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from sparsebench.exporters.onnx.artifact import Artifact

# Of the layer's standard deviation: too small to change what is computed (and so the zeros
# behind a ReLU), far above the denormals that would cost time of their own.
SHARE = 1e-3
_WEIGHTED = ("Conv", "Gemm", "MatMul")


def write_filled(artifact: Artifact, folder: Path) -> Artifact:
    """Write the filled copy.

    Args:
        artifact: with an ONNX file, and perhaps PyTorch weights.
        folder: where the copy goes; it must exist.
    """
    target = folder / "filled.onnx"
    model = onnx.load(artifact.onnx)
    read = {
        name for node in model.graph.node if node.op_type in _WEIGHTED for name in node.input[1:2]
    }
    shared = {node.output[0]: node.input[0] for node in model.graph.node
              if node.op_type == "Identity"}  # fmt: skip
    read |= {shared[name] for name in read if name in shared}
    for tensor in model.graph.initializer:
        if tensor.name in read:
            weight = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(filled(weight), tensor.name))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in read:
            for attribute in node.attribute:
                weight = numpy_helper.to_array(attribute.t)
                attribute.t.CopyFrom(numpy_helper.from_array(filled(weight), attribute.t.name))
    onnx.save(model, str(target))
    weights = None
    if artifact.weights is not None:
        weights = str(folder / "filled.safetensors")
        _fill_safetensors(artifact.weights, weights)
    return replace(artifact, folder=str(folder), onnx=str(target), weights=weights)


def filled(weight: NDArray[Any]) -> NDArray[Any]:
    """The array with its zeros replaced by small values of either sign; integers stay."""
    zero = weight == 0
    if not zero.any() or weight.ndim < 2 or not np.issubdtype(weight.dtype, np.floating):
        return weight
    rest = weight[~zero]
    size = SHARE * float(rest.std() if rest.size > 1 else 1.0) or SHARE
    signs = np.random.default_rng(0).choice((-size, size), int(zero.sum()))
    made = weight.copy()
    made[zero] = signs.astype(weight.dtype)
    return made


def _fill_safetensors(source: str, target: str) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = {
        name: np.ascontiguousarray(filled(value)) if value.ndim in (2, 4) else value
        for name, value in load_file(source).items()
    }
    save_file(tensors, target)
