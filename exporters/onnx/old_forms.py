"""Newer operators written as older ones, for an engine that has kernels for those alone.

torch's newer exporter, whose files most people bring by now, pools with ``ReduceMean`` and
normalises with ``LayerNormalization``. DeepSparse 1.8.0 reads both and has kernels for neither:
of a ResNet so written it executes nothing itself, of a ViT 91 %, without a word. Imported in that
engine's environment: the standard library, NumPy and onnx (1.14) only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import defs, helper, numpy_helper, shape_inference

_OPSET = 17
"""The last one whose means take their axes as an attribute, as that engine reads them."""
_POOL, _NORM, _SPLIT = "ReduceMean", "LayerNormalization", "Split"
# Newer versions that only take more types of values.
_SAME = {"Constant", "Equal", "Identity", "Reshape", "Shape", "Size"}


def in_old_forms(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same computation with pooling and layer norm in operators of opset 13.

    Layer norm is left where its axes, type or results are not the usual ones.

    Args:
        model: any graph; it is not changed.

    Returns:
        Another graph, or ``model`` itself where it holds nothing newer.
    """
    if not any(node.op_type in (_POOL, _NORM) for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, constants = made.graph, _constants(model)
    older = _relabelled(made, constants)
    _pool(graph, _shapes(model), constants)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _normalised(node, graph) if node.op_type == _NORM and older else [node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return made


def with_pooling(model: onnx.ModelProto) -> None:
    """Write means over height and width as what pools, in place; all else stays as it is."""
    if any(node.op_type == _POOL for node in model.graph.node):
        _pool(model.graph, _shapes(model), _constants(model))


def _pool(
    graph: onnx.GraphProto,
    shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, NDArray[Any]],
) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _pooled(node, shapes, constants) if node.op_type == _POOL else [node]
    rank_two = {name for name, shape in shapes.items() if len(shape) == 2}
    pooled = {node.output[0] for node in nodes if node.op_type == "GlobalAveragePool"}
    for node in nodes:  # [N, C, 1, 1] to [N, C], whatever the shape was computed from
        if node.op_type == "Reshape" and node.input[0] in pooled and node.output[0] in rank_two:
            node.CopyFrom(helper.make_node("Flatten", node.input[:1], node.output, node.name))
    del graph.node[:]
    graph.node.extend(nodes)


def _relabelled(model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]) -> bool:
    """Put the model under opset 17 where each of its operators says the same there.

    Means get their axes as an attribute. Whether its opset is 17 or older now.
    """
    opset = next(o for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset.version <= _OPSET:
        return True
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        newer = defs.get_schema(node.op_type, opset.version).since_version > _OPSET
        if node.op_type == _POOL:
            newer = len(node.input) > 1 and node.input[1] not in constants
        elif node.op_type == _SPLIT:  # into equal parts without sizes: as it was before
            newer = len(node.input) < 2
        elif node.op_type in _SAME:
            newer = False
        if newer:
            return False
    for node in model.graph.node:
        if node.op_type != _POOL:
            continue
        axes, keepdims = _axes(node, constants), _attribute(node, "keepdims", 1)
        del node.attribute[:], node.input[1:]
        given = {} if axes is None else {"axes": axes}
        node.attribute.extend(
            helper.make_attribute(name, value)
            for name, value in {**given, "keepdims": keepdims}.items()
        )
    opset.version = _OPSET
    model.ir_version = min(model.ir_version, 8)
    return True


def _pooled(
    node: onnx.NodeProto,
    shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, NDArray[Any]],
) -> list[onnx.NodeProto]:
    """A mean over height and width as what pools; any other mean as it is."""
    axes, rank = _axes(node, constants), len(shapes.get(node.input[0], ()))
    if rank != 4 or axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        return [node]
    source, (result,) = node.input[:1], node.output
    if _attribute(node, "keepdims", 1):
        return [helper.make_node("GlobalAveragePool", source, [result], node.name)]
    planes = f"{result}_planes"
    return [
        helper.make_node("GlobalAveragePool", source, [planes], node.name),
        helper.make_node("Flatten", [planes], [result], f"{node.name}_flat"),
    ]


def _normalised(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Layer norm over the last axis, step by step (Ba, Kiros & Hinton 2016)."""
    scale = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    usual = scale is not None and scale.data_type == onnx.TensorProto.FLOAT
    if not usual or _attribute(node, "axis", -1) != -1 or any(node.output[1:]):
        return [node]
    images, result = node.input[0], node.output[0]
    epsilon, two = f"{result}_epsilon", f"{result}_two"
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in ((epsilon, _attribute(node, "epsilon", 1e-5)), (two, 2.0))
    )
    made: list[onnx.NodeProto] = []

    def step(op: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        name = result if last else f"{result}_step{len(made)}"
        made.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    centred = step("Sub", images, step("ReduceMean", images, axes=[-1], keepdims=1))
    variance = step("ReduceMean", step("Pow", centred, two), axes=[-1], keepdims=1)
    deviation = step("Sqrt", step("Add", variance, epsilon))
    bias = [name for name in node.input[2:] if name]
    unit = step("Div", centred, deviation)
    scaled = step("Mul", unit, node.input[1], last=not bias)
    if bias:
        step("Add", scaled, bias[0], last=True)
    return made


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of the tensors whose number of axes follows from the graph; 0 where a size is free."""
    graph = shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """What is stored of whole numbers, axes among them."""
    stored = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored.append((node.output[0], node.attribute[0].t))
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in stored
        if tensor.data_type == onnx.TensorProto.INT64
    }


def _axes(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> list[int] | None:
    """Of a mean; None for all, or where they are computed."""
    if len(node.input) > 1 and node.input[1]:
        found = constants.get(node.input[1])
        return None if found is None else [int(axis) for axis in found.ravel()]
    given = _attribute(node, "axes", None)
    return None if given is None else list(given)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    values = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return values[0] if values else default
