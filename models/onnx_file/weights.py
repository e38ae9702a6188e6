"""The layers of an ONNX graph: their weights, also quantized ones, and where they are zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.graph import constant_names

if TYPE_CHECKING:
    import onnx

# Operator -> position of its weight, and of the value that stands for zero in it.
_WEIGHTED: Mapping[str, tuple[int, int | None]] = {
    "Conv": (1, None),
    "Gemm": (1, None),
    "MatMul": (1, None),
    "QLinearConv": (3, 5),
    "ConvInteger": (1, 3),
    "QLinearMatMul": (3, 5),
    "MatMulInteger": (1, 3),
    "QGemm": (3, 5),
}
_QUANTIZED = {"QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm"}
# What a stored weight may pass through on its way to a layer.
_PASSED = {
    "Cast",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
# Operators with weights whose zeros are not counted here.
_UNREADABLE = {"ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "RNN", "Scan"}
_STANDARD = {"", "ai.onnx"}
_OF_ONNX_RUNTIME = ("com.microsoft", "QGemm")


@dataclass(frozen=True)
class WeightedNode:
    """A node with a constant weight.

    Attributes:
        name: the node's (or its weight's) name.
        op: ONNX operator.
        weight: values of the stored type in the layout of PyTorch (``[out, in, ...]``),
            with zero for zero: a quantized weight less its zero point.
        output: name of the tensor that the node computes.
    """

    name: str
    op: str
    weight: NDArray[Any]
    output: str = ""

    @property
    def quantized(self) -> bool:
        """Whether the weight is stored in whole numbers."""
        return self.op in _QUANTIZED or self.weight.dtype.kind in "iu"


def read_weights(
    graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], where: str
) -> list[WeightedNode]:
    """Convolutions and products with constant weights among some nodes, in order.

    Products of two computed values (attention) have none and are left out.

    Args:
        graph: holds the constants.
        nodes: of the graph.
        where: the file, for messages.

    Raises:
        SparsebenchError: weights that are computed, damaged, or of an unknown operator.
    """
    values = _Constants(graph, where)
    found: list[WeightedNode] = []
    names: set[str] = set()
    for node in nodes:
        own = node.domain in _STANDARD or (node.domain, node.op_type) == _OF_ONNX_RUNTIME
        known = _WEIGHTED.get(node.op_type) if own else None
        if known is None:
            _refuse_unreadable(node, values, where)
            continue
        position, zero_at = known
        if node.input[position] not in values.names:
            if "Conv" in node.op_type:
                raise SparsebenchError(
                    f"'{where}': the weights of {node.op_type} '{node.name or node.output[0]}' "
                    "are computed, not stored: their zeros cannot be counted.",
                    "Export it in evaluation mode, with constants folded.",
                )
            continue
        weight = values.read(node.input[position])
        if weight.dtype.kind == "f" and not np.isfinite(weight).all():
            raise SparsebenchError(
                f"'{where}': the weight '{node.input[position]}' holds NaN or infinity.",
                "Its training diverged, or the file is damaged.",
            )
        outputs_first = "Conv" in node.op_type or _transposed(node)
        if zero_at is not None and len(node.input) > zero_at and node.input[zero_at]:
            zero = values.read(node.input[zero_at]).astype(np.int32)
            channels = (-1, *[1] * (weight.ndim - 1)) if outputs_first else (-1,)
            weight = weight.astype(np.int32) - (zero.reshape(channels) if zero.ndim else zero)
        if not outputs_first:
            weight = np.ascontiguousarray(np.swapaxes(weight, -1, -2))
        name = node.name or node.input[position]
        name = name if name not in names else f"{name}#{len(found)}"
        names.add(name)
        found.append(WeightedNode(name, node.op_type, weight, str(node.output[0])))
    return found


def quantized(nodes: Iterable[onnx.NodeProto]) -> bool:
    """Whether any node computes with, or rounds to, whole numbers."""
    return any(n.op_type in _QUANTIZED or n.op_type == "DequantizeLinear" for n in nodes)


class _Constants:
    """Constant tensors by name, computed from the stored ones where need be."""

    def __init__(self, graph: onnx.GraphProto, where: str) -> None:
        self.names = constant_names(graph)
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._where = where

    def rank(self, name: str) -> int:
        """Number of dimensions of a stored tensor, 0 for any other."""
        return len(self._stored[name].dims) if name in self._stored else 0

    def read(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        try:
            if name in self._stored:
                return np.asarray(numpy_helper.to_array(self._stored[name]))
            node = self._producers[name]
            if node.op_type == "Constant":
                return _computed(node, {})
            if node.op_type not in _PASSED:
                raise SparsebenchError(
                    f"'{self._where}': the weight '{name}' is computed by {node.op_type}: its "
                    "zeros cannot be counted.",
                    "Export it with constants folded.",
                )
            feeds = {read: self.read(read) for read in node.input if read}
            return _computed(node, feeds)
        except SparsebenchError:
            raise
        except Exception as error:  # whatever numpy makes of broken sizes, types or bytes
            raise SparsebenchError(
                f"'{self._where}': the weight '{name}' cannot be read ({error}).",
                "Is the file damaged?",
            ) from None


def _computed(node: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    from onnx.reference import ReferenceEvaluator

    outputs: Any = ReferenceEvaluator(node).run(None, dict(feeds))
    return np.asarray(outputs[0])


def _refuse_unreadable(node: onnx.NodeProto, values: _Constants, where: str) -> None:
    foreign = node.domain not in _STANDARD and any(values.rank(name) > 1 for name in node.input)
    if foreign or (node.op_type in _UNREADABLE and node.domain in _STANDARD):
        full = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise SparsebenchError(
            f"'{where}': the weights of the operator {full} cannot be read.",
            f"Known are {', '.join(_WEIGHTED)}.",
        )


def _transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i == 1 for a in node.attribute)
