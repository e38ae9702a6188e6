"""An ONNX file (batch norm folded) read as steps for the kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from exporters.kernels.geometry import Geometry
from exporters.kernels.library import NONE, RELU, RELU6
from exporters.kernels.steps import (
    PICTURES,
    ActStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
    fuse,
)

Array = NDArray[np.float32]


class UnsupportedOnnxError(Exception):
    """An operator that the kernels do not have; the message names it."""


@dataclass
class OnnxNetwork:
    """What the kernels execute.

    Attributes:
        steps: a convolution is a ``NormStep`` whose layer is a key of ``layers``: it carries
            the activation and the residual that were fused into it.
        layers: name -> (weight ``[O, C / groups, kh, kw]``, bias ``[O]`` or None, geometry).
        output: the value that is ``[N, C]`` after the mean over planes.
        head: (weight ``[O, C]``, bias ``[O]``) of a linear layer behind it, or None.
    """

    steps: list[Step] = field(default_factory=list)
    layers: dict[str, tuple[Array, Array | None, Geometry]] = field(default_factory=dict)
    output: int = PICTURES
    head: tuple[Array, Array] | None = None

    def classify(self, features: Array) -> Array:
        """``[N, C]`` through the linear layer, if there is one. Always a copy."""
        if self.head is None:
            return features.copy()
        weight, bias = self.head
        logits: Array = features @ weight.T + bias
        return logits


def read_onnx(path: str) -> OnnxNetwork:
    """Read a convolutional network that ends in a global mean, or in one linear layer.

    Raises:
        UnsupportedOnnxError: an operator or one of its attributes is not supported.
        OSError: the file cannot be read.
    """
    graph = onnx.load(path).graph
    reader = _Reader({t.name: numpy_helper.to_array(t) for t in graph.initializer})
    pictures = [i.name for i in graph.input if i.name not in reader.constants]
    if len(pictures) != 1 or len(graph.output) != 1:
        raise UnsupportedOnnxError("the network has more than one input or output")
    reader.values[pictures[0]] = PICTURES
    for node in graph.node:
        reader.take(node)
    network = reader.network
    network.output = reader.values[graph.output[0].name]
    if not any(isinstance(s, MeanStep) and s.out == network.output for s in network.steps):
        raise UnsupportedOnnxError("the network does not end in a mean over planes")
    network.steps = fuse(network.steps, network.output)
    return network


class _Reader:
    def __init__(self, constants: dict[str, Any]) -> None:
        self.constants = constants
        self.values: dict[str, int] = {}
        self.network = OnnxNetwork()
        self._padding: dict[str, tuple[int, int, int, int]] = {}

    def take(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            self.constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            return
        if node.op_type == "Identity" and node.input[0] in self.constants:
            self.constants[node.output[0]] = self.constants[node.input[0]]
            return
        if all(name in self.constants for name in node.input if name):
            return  # shapes that only constants enter; whoever needs them is refused
        handler = getattr(self, "_op_" + node.op_type.lower(), None)
        if handler is None:
            raise UnsupportedOnnxError(f"the kernels do not know the operator {node.op_type}")
        handler(node, attributes)

    def _op_conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        name = node.name or node.output[0]
        weight = np.array(self.constants[node.input[1]], np.float32)
        bias = None
        if len(node.input) > 2:
            bias = np.array(self.constants[node.input[2]], np.float32)
        if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"") or weight.ndim != 4:
            raise UnsupportedOnnxError(f"{name}: only 2-d convolutions with explicit padding")
        groups = attributes.get("group", 1)
        pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
        before = self._padding.pop(node.input[0], (0, 0, 0, 0))
        geometry = Geometry(
            weight.shape[0],
            weight.shape[1] * groups,
            (weight.shape[2], weight.shape[3]),
            tuple(attributes.get("strides", (1, 1))),
            tuple(a + b for a, b in zip(pads, before, strict=True)),
            tuple(attributes.get("dilations", (1, 1))),
            groups,
        )
        self.network.layers[name] = (weight, bias, geometry)
        self._add(node, NormStep(self._value(node, 0), self._next(), name))

    def _op_pad(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        pads = [int(p) for p in self.constants[node.input[1]]]
        value = 0.0
        if len(node.input) > 2 and node.input[2]:
            value = float(self.constants[node.input[2]])
        mode = attributes.get("mode", b"constant")
        if mode != b"constant" or value != 0 or any(pads[i] for i in (0, 1, 4, 5)):
            raise UnsupportedOnnxError("only planes padded with zeros")
        self.values[node.output[0]] = self._value(node, 0)
        self._padding[node.output[0]] = (pads[2], pads[3], pads[6], pads[7])

    def _op_relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._add(node, ActStep(self._value(node, 0), self._next(), RELU))

    def _op_clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        bounds = [float(self.constants[name]) for name in node.input[1:]]
        bounds = bounds or [attributes.get("min", np.nan), attributes.get("max", np.nan)]
        if bounds != [0.0, 6.0]:
            raise UnsupportedOnnxError(f"Clip to {bounds}; only 0..6 (ReLU6) is known")
        self._add(node, ActStep(self._value(node, 0), self._next(), RELU6))

    def _op_add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._add(node, ActStep(self._value(node, 0), self._next(), NONE, self._value(node, 1)))

    def _op_maxpool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        pads, ceil = attributes.get("pads", [0] * 4), attributes.get("ceil_mode", 0)
        square = len(set(kernel)) == len(set(strides)) == len(set(pads)) == 1
        if ceil or not square or set(attributes.get("dilations", [1])) != {1}:
            raise UnsupportedOnnxError("only square max pooling")
        step = MaxPoolStep(self._value(node, 0), self._next(), kernel[0], strides[0], pads[0])
        self._add(node, step)

    def _op_globalaveragepool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._add(node, MeanStep(self._value(node, 0), self._next()))

    def _op_reducemean(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        axes = attributes.get("axes")
        if axes is None and len(node.input) > 1:
            axes = [int(a) for a in self.constants[node.input[1]]]
        if sorted(a % 4 for a in axes or []) != [2, 3]:
            raise UnsupportedOnnxError("only the mean over whole planes")
        self._add(node, MeanStep(self._value(node, 0), self._next()))

    def _same(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        value = self._value(node, 0)
        if not any(isinstance(s, MeanStep) and s.out == value for s in self.network.steps):
            raise UnsupportedOnnxError(f"{node.op_type} before the mean over planes")
        self.values[node.output[0]] = value

    _op_flatten = _op_reshape = _op_squeeze = _same

    def _op_identity(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self.values[node.output[0]] = self._value(node, 0)

    def _op_gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._same(node, attributes)
        if self.network.head is not None or attributes.get("transA", 0):
            raise UnsupportedOnnxError("more than one linear layer")
        weight = np.array(self.constants[node.input[1]], np.float32)
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = np.zeros(len(weight), np.float32)
        if len(node.input) > 2:
            bias = np.array(self.constants[node.input[2]], np.float32)
        scale, shift = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        self.network.head = (np.ascontiguousarray(weight * scale), bias * shift)

    def _value(self, node: onnx.NodeProto, position: int) -> int:
        name = node.input[position]
        if name not in self.values or name in self._padding:
            raise UnsupportedOnnxError(f"{node.op_type} of a value that is not known")
        return self.values[name]

    def _next(self) -> int:
        return len(self.network.steps) + 1

    def _add(self, node: onnx.NodeProto, step: Step) -> None:
        if self.network.head is not None:
            raise UnsupportedOnnxError(f"{node.op_type} behind the linear layer")
        self.network.steps.append(step)
        self.values[node.output[0]] = step.out
