"""Walks over an ONNX graph: what is constant, what computes a tensor, who reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_GRAPHS = (5, 10)  # AttributeProto.GRAPH, GRAPHS
_FEW = 16
_SIMPLE = {
    "Add", "Cast", "Concat", "Div", "Identity", "Mul", "Neg", "Pow", "Reciprocal", "Reshape",
    "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


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


def every_graph(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes, as the branches of `If` and the bodies of loops are."""
    waiting = [graph]
    while waiting:
        one = waiting.pop()
        yield one
        for node in one.node:
            for attribute in node.attribute:
                if attribute.type in _GRAPHS:
                    waiting += [*([attribute.g] if attribute.HasField("g") else [])]
                    waiting += attribute.graphs


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
    """Constants of a few numbers: bounds, scales, a number for each channel.

    Also those that are computed from such ones alone, by arithmetic and changes of shape.
    """
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    found: dict[str, NDArray[Any]] = {}

    def keep(name: str, array: NDArray[Any]) -> None:
        if 1 <= array.size <= _FEW and array.dtype.kind not in "cOSU":
            found[name] = array

    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _FEW:
            with suppress(KeyError, TypeError, ValueError):
                keep(tensor.name, np.asarray(numpy_helper.to_array(tensor)))
    for node in graph.node:
        with suppress(Exception):  # whatever numpy makes of broken attributes
            if node.op_type == "Constant":
                (given,) = node.attribute
                if given.name != "value":
                    keep(node.output[0], np.asarray(helper.get_attribute_value(given)))
                elif math.prod(given.t.dims) <= _FEW:
                    keep(node.output[0], np.asarray(numpy_helper.to_array(given.t)))
            elif node.op_type in _SIMPLE and all(name in found for name in node.input):
                made: Any = ReferenceEvaluator(node).run(None, {n: found[n] for n in node.input})
                keep(node.output[0], np.asarray(made[0]))
    return found
