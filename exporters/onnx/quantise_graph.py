"""A float graph made ready for INT8: constants computed, batch norm folded, nodes by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from sparsebench.exporters.onnx.constants import fold_constants


def fold_batch_norm(model: onnx.ModelProto) -> None:
    """Put every batch norm that alone reads a convolution into its weights and bias, in place.

    What the graph computes from constants alone becomes a constant first: exporters hand equal
    tensors on through ``Identity``, and a convolution's weights must lie in the file.
    """
    fold_constants(model)
    graph = Graph(model)
    for norm in [node for node in model.graph.node if node.op_type == "BatchNormalization"]:
        conv = graph.producer(norm.input[0])
        alone = len(graph.readers(norm.input[0])) == 1 and norm.input[0] not in graph.outputs
        if conv is None or not alone or not graph.quantizable(conv) or not graph.is_stored(norm):
            continue
        gamma, beta, mean, variance = (graph.array(name) for name in norm.input[1:5])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
        weight, bias = graph.weight_and_bias(conv)
        folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        shift = beta + (bias - mean) * factor
        names = [f"{conv.output[0]}_folded_weight", f"{conv.output[0]}_folded_bias"]
        for name, values in zip(names, (folded, shift), strict=True):
            graph.store(name, values.astype(np.float32))
        del conv.input[1:]
        conv.input.extend(names)
        conv.output[0] = norm.output[0]
        model.graph.node.remove(norm)
        graph = Graph(model)


class Graph:
    """A model with its nodes and constants by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)
        self.outputs = {output.name for output in model.graph.output}

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that computes a value; None for inputs and constants."""
        return self._producers.get(name)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return self._readers.get(name, [])

    def is_stored(self, node: onnx.NodeProto) -> bool:
        """Whether a convolution's weights and bias lie in the file as float32."""
        return all(
            name in self._stored and self._stored[name].data_type == TensorProto.FLOAT
            for name in node.input[1:]
            if name
        )

    def quantizable(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a convolution whose weights lie in the file as float32."""
        return node.op_type == "Conv" and self.is_stored(node)

    def array(self, name: str) -> NDArray[Any]:
        """The values of a constant."""
        return np.asarray(numpy_helper.to_array(self._stored[name]))

    def weight_and_bias(self, conv: onnx.NodeProto) -> tuple[NDArray[Any], NDArray[Any]]:
        """``[out, in, kh, kw]`` and float32 ``[out]``, zeros where there is no bias."""
        weight = self.array(conv.input[1])
        bias = self.array(conv.input[2]) if any(conv.input[2:]) else np.zeros(len(weight))
        return weight, bias.astype(np.float32)

    def store(self, name: str, values: NDArray[Any] | np.generic) -> str:
        """Add a constant unless there is one of this name; the name."""
        if name not in self._stored:
            tensor = numpy_helper.from_array(np.asarray(values, order="C"), name)
            self.model.graph.initializer.append(tensor)
            self._stored[name] = tensor
        return name
