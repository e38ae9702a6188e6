"""The layers of an ONNX graph: their weights, also quantized ones, and where they are zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.head import weight_position
from sparsebench.models.onnx_file.walks import constant_names

if TYPE_CHECKING:
    import onnx

# Operator -> position of the value that stands for zero in its weight.
_WEIGHTED: Mapping[str, int | None] = {
    "Conv": None,
    "FusedConv": None,
    "Gemm": None,
    "FusedGemm": None,
    "MatMul": None,
    "FusedMatMul": None,
    "QLinearConv": 5,
    "ConvInteger": 3,
    "QLinearMatMul": 5,
    "MatMulInteger": 3,
    "MatMulIntegerToFloat": 5,
    "DynamicQuantizeMatMul": 3,
    "QGemm": 5,
}
_QUANTIZED = {
    "QLinearConv",
    "ConvInteger",
    "QLinearMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QGemm",
}
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
_OF_ONNX_RUNTIME = "com.microsoft"
# A weight that a hundred nodes read is counted a hundred times; more is no network.
_MOST_SHARED = 64
# Steps between a stored weight and its layer: rounding, turning, reshaping.
_MOST_STEPS = 12


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
    most = _MOST_SHARED * max(values.stored, 1)
    for node in nodes:
        own = node.domain in _STANDARD or node.domain == _OF_ONNX_RUNTIME
        if not own or node.op_type not in _WEIGHTED:
            _refuse_unreadable(node, values, where)
            continue
        position = weight_position(node, values.names)
        if position is None:
            if "Conv" in node.op_type:
                raise SparsebenchError(
                    f"'{where}': the weights of {node.op_type} '{node.name or node.output[0]}' "
                    "are computed, not stored: their zeros cannot be counted.",
                    "Export it in evaluation mode, with constants folded.",
                )
            continue
        weight = values.weight(node, position)
        name = node.name or node.input[position]
        name = name if name not in names else f"{name}#{len(found)}"
        names.add(name)
        found.append(WeightedNode(name, node.op_type, weight, str(node.output[0])))
        most -= weight.size
        if most < 0:
            raise SparsebenchError(
                f"'{where}': its layers read the stored weights more than {_MOST_SHARED} times.",
                "Is it a network for images?",
            )
    return found


def quantized(nodes: Iterable[onnx.NodeProto]) -> bool:
    """Whether any node computes with, or rounds to, whole numbers."""
    return any(n.op_type in _QUANTIZED or n.op_type == "DequantizeLinear" for n in nodes)


def constant_values(graph: onnx.GraphProto, names: Iterable[str], where: str) -> list[NDArray[Any]]:
    """The values of some constants; raises SparsebenchError where one cannot be read."""
    values = _Constants(graph, where)
    return [values.read(name) for name in names]


class _Constants:
    """Constant tensors by name, computed from the stored ones where need be."""

    def __init__(self, graph: onnx.GraphProto, where: str) -> None:
        self.names = constant_names(graph)
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._where = where
        self._read: dict[str, NDArray[Any]] = {}
        self._weights: dict[tuple[str, str, bool], NDArray[Any]] = {}
        self.stored = sum(int(np.prod(t.dims, dtype=np.int64)) for t in graph.initializer) + sum(
            int(np.prod(attribute.t.dims, dtype=np.int64))
            for node in graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
        )

    def weight(self, node: onnx.NodeProto, position: int) -> NDArray[Any]:
        """A layer's weight in PyTorch's layout, with zero for zero; one array for one weight."""
        name, zero_at = str(node.input[position]), _WEIGHTED[node.op_type]
        outputs_first = "Conv" in node.op_type or _transposed(node, position)
        has_zero = zero_at is not None and len(node.input) > zero_at
        zero_name = str(node.input[zero_at]) if has_zero and zero_at is not None else ""
        key = (name, zero_name, outputs_first)
        if key in self._weights:
            return self._weights[key]
        self._read.clear()  # what stands between is needed for one weight alone
        weight = self.read(name)
        if weight.ndim < 2:
            raise SparsebenchError(
                f"'{self._where}': the weight '{name}' of {node.op_type} has shape "
                f"{list(weight.shape)}.",
                "Is the file damaged?",
            )
        if weight.dtype.kind in "cOSU":
            raise SparsebenchError(
                f"'{self._where}': the weight '{name}' holds {weight.dtype}, no real numbers.",
                "Is it a network for images?",
            )
        if weight.dtype.kind == "f" and not np.isfinite(weight).all():
            raise SparsebenchError(
                f"'{self._where}': the weight '{name}' holds NaN or infinity.",
                "Its training diverged, or the file is damaged.",
            )
        if zero_name:
            zero = self.read(zero_name).astype(np.int32)
            channels = (-1, *[1] * (weight.ndim - 1)) if outputs_first else (-1,)
            weight = weight.astype(np.int32) - (zero.reshape(channels) if zero.ndim else zero)
        if not outputs_first:
            weight = np.ascontiguousarray(np.swapaxes(weight, -1, -2))
        self._weights[key] = weight
        return weight

    def rank(self, name: str) -> int:
        """Number of dimensions of a stored tensor, 0 for any other."""
        return len(self._stored[name].dims) if name in self._stored else 0

    def read(self, name: str, steps: int = 0) -> NDArray[Any]:
        """The values of a constant.

        Raises:
            SparsebenchError: they cannot be read, or are computed in more than a few steps.
        """
        if name not in self._read:
            self._read[name] = self._computed(name, steps)
        return self._read[name]

    def _computed(self, name: str, steps: int) -> NDArray[Any]:
        from onnx import numpy_helper

        try:
            if name in self._stored:
                return np.asarray(numpy_helper.to_array(self._stored[name]))
            node = self._producers[name]
            if node.op_type == "Constant":
                return _computed(node, {})
            if node.op_type not in _PASSED or steps >= _MOST_STEPS:
                raise SparsebenchError(
                    f"'{self._where}': the weight '{name}' is computed by {node.op_type}: its "
                    "zeros cannot be counted.",
                    "Export it with constants folded.",
                )
            feeds = {read: self.read(read, steps + 1) for read in node.input if read}
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


def _transposed(node: onnx.NodeProto, position: int) -> bool:
    """Whether a product's weight is stored ``[out, in]``."""
    turned = "transA" if position == 0 else "transB"
    told = any(a.name == turned and a.i == 1 for a in node.attribute)
    return not told if position == 0 else told
