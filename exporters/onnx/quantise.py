"""Post-training static quantization to INT8: a float ONNX graph to the form an engine runs fast.

Two forms of the same arithmetic, from the same ranges and the same weights:

- ``integer``: ``QuantizeLinear`` -> ``ConvInteger`` (weights of 8 bits without sign, zero at 128)
  -> ``Add`` of an int32 bias -> ``Cast`` -> ``Mul`` by a scale for each channel. What lies between
  convolutions stays in float; an identity that joins a sum is taken from the bytes, and so is
  what is enlarged or returned of a value that a convolution reads. DeepSparse 1.8
  executes this itself; of a graph with a quantized max-pool, with QDQ or with channel-wise
  QLinearConv it executes nothing and says so nowhere but in ``supported_fraction``.
- ``qdq``: ``QuantizeLinear`` and ``DequantizeLinear`` around every convolution, sum and
  max-pool, weights of 8 bits with sign and a scale for each channel. ONNX Runtime and
  OpenVINO fuse these into integer kernels.

Policy: every convolution is quantized, the first one included, with batch norm folded into
it; products (the classifier) and the pooled features stay in float. Weights are symmetric with
a scale for each output channel, 127 for the largest (64 in ``qdq`` for processors without VNNI,
see ``LARGEST_WITHOUT_VNNI``); zeros stay exact zeros and no other weight
becomes one, so that the mask is the checkpoint's. Activations have one range a tensor
(``quantise_ranges``). Biases are int32 in steps of both scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sparsebench.exporters.onnx.quantise_graph import Graph
from sparsebench.exporters.onnx.quantise_ranges import Range
from sparsebench.models.errors import SparsebenchError

FORMS = ("integer", "qdq")
LARGEST = 127
LARGEST_WITHOUT_VNNI = 64
"""A processor without VNNI adds two products of bytes in 16 bits (vpmaddubsw), where 2 x 255 x 127
do not fit and are cut off; 2 x 255 x 64 do."""
_WEIGHT_ZERO = 128
# A bias has at most so many steps: float32 holds them exactly once they are cast.
_BIAS_STEPS = 2**23
_ACTIVATIONS = ("Relu", "Clip")
_JOINED = ("Conv", "Add", "MaxPool")
# Beside a convolution that reads a value's bytes, these take the same: the maps that a detector
# enlarges, and those that a network returns.
_OF_BYTES = ("Add", "Resize", "Flatten", "Reshape")


def quantise_weight(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    input_scale: np.float32,
    most: int = LARGEST,
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """Bytes, a scale for each output channel, and the bias in steps of both scales.

    Args:
        weight: ``[out, in, kh, kw]``, float32.
        bias: ``[out]``, float32.
        input_scale: step of the layer's input.
        most: the largest byte.

    Returns:
        int8 ``[out, in, kh, kw]`` from -`most` to `most` that is 0 where the weight is and nowhere
        else, float32 ``[out]``, int32 ``[out]``.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(1) if weight.size else np.zeros(0)
    # A filter of hardly any weight beside a large bias must not make its steps too many.
    least = np.abs(bias.astype(np.float64)) / (float(input_scale) * _BIAS_STEPS)
    scale = np.maximum(largest.astype(np.float64) / most, least)
    # Below the normal numbers a step would become zero in float32.
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    scale = np.where(largest + least > 0, scale, 1.0).astype(np.float32)
    ratio = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
    rounded = np.clip(np.rint(ratio), -most, most)
    rounded = np.where((rounded == 0) & (weight != 0), np.sign(weight), rounded)
    steps = np.rint(bias.astype(np.float64) / (float(input_scale) * scale.astype(np.float64)))
    return rounded.astype(np.int8), scale, steps.astype(np.int32)


def tensors_to_calibrate(model: onnx.ModelProto) -> list[str]:
    """Activations whose range either form needs.

    Raises:
        SparsebenchError: there is no convolution to quantize, or one that cannot be.
    """
    graph = Graph(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    left = [node.name or node.output[0] for node in convolutions if not graph.quantizable(node)]
    if left:
        raise SparsebenchError(
            f"{len(left)} of {len(convolutions)} convolutions cannot be quantized, because the "
            f"file does not hold their weights as float32 constants: {', '.join(left[:5])}.",
            "Run it in fp32.",
        )
    if not convolutions:
        raise SparsebenchError(
            "The network holds no convolution: there is nothing to quantize.", "Run it in fp32."
        )
    wanted = [node.input[0] for node in convolutions]
    return list(dict.fromkeys([*wanted, *_joints(graph)]))


def quantise(
    model: onnx.ModelProto, ranges: Mapping[str, Range], form: str, most: int = LARGEST
) -> onnx.ModelProto:
    """The graph in INT8.

    Args:
        model: float graph, batch norm folded; not changed.
        ranges: of the tensors that :func:`tensors_to_calibrate` names.
        form: ``"integer"`` or ``"qdq"``.
        most: the largest byte of a weight.

    Returns:
        A graph with the same input and outputs, whose convolutions keep their names.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = Graph(made)
    writer = _Writer(graph, ranges, most)
    joints = set(_joints(graph)) if form == "qdq" else set()
    for node in model.graph.node:
        if graph.quantizable(node):
            if form == "integer":
                writer.integer_convolution(node)
            else:
                writer.qdq_convolution(node)
            continue
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        for at, name in enumerate(node.input):
            joins = node.op_type in _JOINED and name in joints
            if joins or (node.op_type in _OF_BYTES and name in writer.read_as_bytes):
                copied.input[at] = writer.from_bytes(name)
        writer.nodes.append(copied)
    del made.graph.node[:]
    made.graph.node.extend(writer.nodes)
    del made.graph.value_info[:]
    used = {name for node in made.graph.node for name in node.input}
    stored = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend(stored)
    onnx.checker.check_model(made)
    return made


def tie_pools(model: onnx.ModelProto, ranges: dict[str, Range]) -> None:
    """Give each max-pool's output its input's range, in place: bytes pass through as they are."""
    for node in model.graph.node:
        if node.op_type == "MaxPool" and {node.input[0], node.output[0]} <= ranges.keys():
            ranges[node.output[0]] = ranges[node.input[0]]


def _joints(graph: Graph) -> list[str]:
    """Outputs of convolutions, sums and max-pools that another of them reads, activation done."""
    found = []
    for node in graph.model.graph.node:
        if node.op_type not in _JOINED:
            continue
        name = node.output[0]
        while len(readers := graph.readers(name)) == 1 and readers[0].op_type in _ACTIVATIONS:
            name = readers[0].output[0]
        if any(reader.op_type in _JOINED for reader in graph.readers(name)):
            found.append(name)
    return found


class _Writer:
    """The nodes of the quantized graph, in order."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Range], most: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._ranges = ranges
        self._most = most
        self._bytes: dict[str, str] = {}
        self._floats: dict[str, str] = {}
        self.read_as_bytes = {
            node.input[0] for node in graph.model.graph.node if graph.quantizable(node)
        }

    def to_bytes(self, name: str) -> str:
        """The activation as bytes, quantized once for all who read it."""
        if name not in self._bytes:
            self._bytes[name] = f"{name}_u8"
            inputs = [name, *self._step_and_zero(name)]
            self._add("QuantizeLinear", inputs, self._bytes[name])
        return self._bytes[name]

    def from_bytes(self, name: str) -> str:
        """The activation as float values that bytes can hold."""
        if name not in self._floats:
            inputs = [self.to_bytes(name), *self._step_and_zero(name)]
            self._floats[name] = self._add("DequantizeLinear", inputs, f"{name}_of_u8")
        return self._floats[name]

    def integer_convolution(self, node: onnx.NodeProto) -> None:
        """ConvInteger, bias, cast and scale in place of a float convolution."""
        weight, scale, bias, output = self._quantised(node)
        source = node.input[0]
        zero = self._step_and_zero(source)[1]
        stored = (weight.astype(np.int16) + _WEIGHT_ZERO).astype(np.uint8)
        inputs = [
            self.to_bytes(source),
            self._graph.store(f"{output}_weight_u8", stored),
            zero,
            self._graph.store("weight_zero_point", np.uint8(_WEIGHT_ZERO)),
        ]
        done = self._add("ConvInteger", inputs, f"{output}_i32", node)
        channels = (1, -1, *[1] * (weight.ndim - 2))
        added = self._graph.store(f"{output}_bias_i32", bias.reshape(channels))
        done = self._add("Add", [done, added], f"{output}_biased")
        done = self._add("Cast", [done], f"{output}_cast", to=TensorProto.FLOAT)
        product = (scale * self._ranges[source].scale).astype(np.float32).reshape(channels)
        self._add("Mul", [done, self._graph.store(f"{output}_scale", product)], output)

    def qdq_convolution(self, node: onnx.NodeProto) -> None:
        """A float convolution of dequantized bytes, which engines fuse into an integer one."""
        weight, scale, bias, output = self._quantised(node)
        source = node.input[0]
        zeros = np.zeros(len(weight), np.int8)
        inputs = [
            self._graph.store(f"{output}_weight_s8", weight),
            self._graph.store(f"{output}_weight_step", scale),
            self._graph.store(f"{output}_weight_zero", zeros),
        ]
        weights = self._add("DequantizeLinear", inputs, f"{output}_weight", axis=0)
        product = (scale * self._ranges[source].scale).astype(np.float32)
        inputs = [
            self._graph.store(f"{output}_bias_i32", bias),
            self._graph.store(f"{output}_bias_step", product),
        ]
        added = self._add("DequantizeLinear", inputs, f"{output}_bias", axis=0)
        self._add("Conv", [self.from_bytes(source), weights, added], output, node)

    def _quantised(
        self, node: onnx.NodeProto
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32], str]:
        weight, bias = self._graph.weight_and_bias(node)
        found = quantise_weight(weight, bias, self._ranges[node.input[0]].scale, self._most)
        return (*found, node.output[0])

    def _step_and_zero(self, name: str) -> list[str]:
        one = self._ranges[name]
        return [
            self._graph.store(f"{name}_step", one.scale),
            self._graph.store(f"{name}_zero", one.zero_point),
        ]

    def _add(
        self,
        kind: str,
        inputs: list[str],
        output: str,
        like: onnx.NodeProto | None = None,
        **attributes: Any,
    ) -> str:
        node = helper.make_node(kind, inputs, [output], name=f"{output}_{kind}", **attributes)
        if like is not None:
            node.name = like.name or node.name
            node.attribute.extend(like.attribute)
        self.nodes.append(node)
        return output
