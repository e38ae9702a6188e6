"""What torch's newer exporter writes, in the forms that engines have fast paths for.

ONNX Runtime fuses GELU where the half is multiplied last, as most networks write it. torch
multiplies ``x`` with the half of the rest: a ConvNeXt-Atto took 1.4 times as long so.
"""

from __future__ import annotations

import ast
from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper

from sparsebench.exporters.onnx.old_forms import with_pooling


def in_usual_forms(model: onnx.ModelProto) -> None:
    """Write pooling and GELU as engines know them, in place; notes on the source go.

    Convolutions and linear layers are named after their modules, as engines tell of them.

    Args:
        model: a graph of opset 18.
    """
    with_pooling(model)
    _reorder_gelu(model.graph)
    _drop_unused(model.graph)
    _name_layers(model.graph)
    _forget_source(model)


def _reorder_gelu(graph: onnx.GraphProto) -> None:
    """``x * (0.5 * (1 + erf))`` becomes ``(x * (1 + erf)) * 0.5``."""
    by_output = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    halves = {
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and not tensor.dims
        and numpy_helper.to_array(tensor) == np.float32(0.5)
    }

    def made_by(name: str, op: str) -> onnx.NodeProto | None:
        node = by_output.get(name)
        return node if node is not None and node.op_type == op and uses[name] == 1 else None

    def is_one_plus_erf(name: str) -> bool:
        node = made_by(name, "Add")
        return node is not None and any(made_by(given, "Erf") for given in node.input)

    for last in graph.node:
        if last.op_type != "Mul":
            continue
        for x, other in (last.input, last.input[::-1]):
            half = made_by(other, "Mul")
            if half is None:
                continue
            first, second = half.input
            if second in halves:
                first, second = second, first
            if first in halves and is_one_plus_erf(second):
                half.input[:] = [x, second]
                last.input[:] = [other, first]
                break


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Take out constants that no node reads: axes and shapes of what was written anew."""
    read = {name for node in graph.node for name in node.input}
    read.update(output.name for output in graph.output)
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    if len(kept) < len(graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)


def _name_layers(graph: onnx.GraphProto) -> None:
    """``/layer1.0.conv1/Conv`` instead of ``node_Conv_296``: the module, then the operator."""
    stored = {tensor.name for tensor in graph.initializer}
    taken = Counter(node.name for node in graph.node)
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or not stored & set(node.input[:2]):
            continue
        layer = node.input[1].removesuffix(".weight")
        if layer == node.input[1]:  # turned round: the exporter's notes have the module
            notes = {note.key: note.value for note in node.metadata_props}
            scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
            layer = scopes[-2] if len(scopes) > 1 else ""
        if layer:
            name = f"/{layer}/{node.op_type}"
            node.name = f"{name}_{taken[name]}" if taken[name] else name
            taken[name] += 1


def _forget_source(model: onnx.ModelProto) -> None:
    """Take out where in which file each node is from: it names folders of the user's machine."""
    del model.metadata_props[:], model.graph.metadata_props[:]
    graph = model.graph
    for entry in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        entry.ClearField("doc_string")
        del entry.metadata_props[:]
