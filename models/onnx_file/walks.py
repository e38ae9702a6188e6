"""Walks over an ONNX graph: what is constant, what computes a tensor, who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_GRAPHS = (5, 10)  # AttributeProto.GRAPH, GRAPHS


def constant_names(graph: onnx.GraphProto) -> set[str]:
    """Tensors that no input changes: stored ones, and what is computed from them alone."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        read = list(reads(node))
        if node.op_type == "Constant" or (read and names.issuperset(read)):
            names.update(name for name in node.output if name)
    return names


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads: its inputs, and what its subgraphs take from around them."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type not in _GRAPHS:
            continue
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {one.name for one in (*graph.input, *graph.initializer)}
            for inner in graph.node:
                yield from (name for name in reads(inner) if name not in own)
                own.update(inner.output)
            yield from (one.name for one in graph.output if one.name not in own)


def ancestors(
    graph: onnx.GraphProto, ends: Iterable[str], begins: tuple[str, ...] = ()
) -> list[onnx.NodeProto]:
    """The nodes that some tensors are computed by, in order; none in front of ``begins``."""
    needed, found = set(ends), list[Any]()
    for node in reversed(graph.node):
        if any(name in begins for name in node.output):
            continue
        if needed.intersection(name for name in node.output if name):
            found.append(node)
            needed.update(reads(node))
    return found[::-1]


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that computes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, in order."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(reads(node)):
            found.setdefault(name, []).append(node)
    return found


def called(node: onnx.NodeProto) -> str:
    """A node as messages name it."""
    where = node.name or next((name for name in node.output if name), "")
    return f"{node.op_type} '{where}'" if where else node.op_type


def small_constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Constants of at most four axes, each of 1 or 3: bounds, scales, a number for each channel."""
    from onnx import numpy_helper

    found: dict[str, NDArray[Any]] = {}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    tensors[node.output[0]] = attribute.t
                elif attribute.name == "value_float":
                    found[node.output[0]] = np.array(attribute.f)
                elif attribute.name == "value_floats":
                    found[node.output[0]] = np.array(attribute.floats)
    for name, tensor in tensors.items():
        if len(tensor.dims) <= 4 and all(side in (1, 3) for side in tensor.dims):
            try:
                found[name] = np.asarray(numpy_helper.to_array(tensor))
            except (TypeError, ValueError):
                continue
    return found
