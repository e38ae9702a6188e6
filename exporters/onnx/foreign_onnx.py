"""ONNX files from elsewhere, run as they are: cut in front of the classifier, nothing else.

Every node up to the features stays as its author left it; only the batch axis is made
free and what follows the features is dropped.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from sparsebench.models.errors import SparsebenchError

_PRODUCTS = ("Gemm", "MatMul")


def write_cut(source: Path, target: Path, size: int, output: str) -> None:
    """Write the part of an ONNX file that computes features, or logits.

    Args:
        source: file whose last matrix product is the classifier.
        target: file to write; its first input takes float32 ``[N, 3, size, size]``.
        size: side of the input, pixels.
        output: ``"features"`` (what the classifier reads) or ``"logits"``.

    Raises:
        SparsebenchError: the file asks for another input size, or has no classifier.
    """
    model = onnx.load(str(source))
    graph = model.graph
    constants = {t.name for t in graph.initializer}
    images = next(i for i in graph.input if i.name not in constants)
    dims = images.type.tensor_type.shape.dim
    sides = {dims[axis].dim_value for axis in (2, 3)} - {0}
    if sides - {size}:
        raise SparsebenchError(
            f"'{source}' takes pictures of {min(sides)} px, not of {size} px.",
            f"Run it with --size {min(sides)}, as it is.",
        )
    products = [node for node in graph.node if node.op_type in _PRODUCTS]
    if not products:
        raise SparsebenchError(f"'{source}' has no classifier (Gemm or MatMul).")
    cut = _data_input(products[-1], constants) if output == "features" else _logits(graph, products)
    needed, kept = {cut}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    weights = [t for t in graph.initializer if t.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    # Shapes noted for one batch size would contradict the free axis.
    del graph.value_info[:]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(cut, onnx.TensorProto.FLOAT, ["batch", None]))
    dims[0].Clear()
    dims[0].dim_param = "batch"
    inputs = [i for i in graph.input if i.name == images.name]
    del graph.input[:]
    graph.input.extend(inputs)
    onnx.save(model, str(target))


def _data_input(node: onnx.NodeProto, constants: set[str]) -> str:
    return next(str(name) for name in node.input if name not in constants)


def _logits(graph: onnx.GraphProto, products: list[onnx.NodeProto]) -> str:
    """The classifier's output, behind the addition of its bias where that is a node."""
    name = products[-1].output[0]
    for node in graph.node:
        if node.op_type == "Add" and name in node.input:
            return str(node.output[0])
    return str(name)
