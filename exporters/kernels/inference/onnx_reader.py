"""An ONNX file (batch norm folded) read as steps for the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
    fuse,
)
from sparsebench.exporters.kernels.inference.onnx_nodes import (
    UnsupportedOnnxError,
    constant,
    needed,
    refusal,
    window_pads,
)
from sparsebench.exporters.kernels.inference.sizes import Size, size_after
from sparsebench.models.errors import SparsebenchError

Array = NDArray[np.float32]
_LARGEST = float(np.finfo(np.float32).max)


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
    output: int = IMAGES
    head: tuple[Array, Array] | None = None

    def size_after(self, step: Step, sizes: Mapping[int, Size]) -> Size:
        """(channels, height, width) of what a step writes, see :func:`sizes.size_after`."""
        return size_after(step, sizes, self.layers)

    def width(self, sizes: Mapping[int, Size]) -> int:
        """Numbers that the steps give for each image; `sizes` as :meth:`size_after` makes them."""
        return sizes[self.output][0]

    def needs_border(self, value: int) -> bool:
        """Whether what lies around a value's planes must be in memory: it is not zero there."""
        return False

    def classify(self, features: Array) -> Array:
        """``[N, C]`` through the linear layer, if there is one. Always a copy."""
        if self.head is None:
            return features.copy()
        weight, bias = self.head
        logits: Array = features @ weight.T + bias
        return logits


def read_onnx(path: str, input_shape: tuple[int, int, int]) -> OnnxNetwork:
    """Read a convolutional network that ends in a global mean, or in one linear layer.

    Nodes that the graph's first output does not need are left out.

    Args:
        path: of the file.
        input_shape: ``(C, H, W)`` of an image; every step must fit what it then reads.

    Raises:
        UnsupportedOnnxError: an operator or one of its attributes is not supported.
        OSError: the file cannot be read.
    """
    graph = onnx.load(path).graph
    reader = GraphReader({t.name: numpy_helper.to_array(t) for t in graph.initializer}, input_shape)
    images = [i.name for i in graph.input if i.name not in reader.constants]
    if len(images) != 1:
        raise UnsupportedOnnxError(f"the network has {len(images)} inputs, not one")
    reader.values[images[0]] = IMAGES
    output = graph.output[0].name
    for node in needed(graph, output):
        reader.take(node)
    return reader.finish(output)


class GraphReader:
    """Takes nodes one after the other; a method for each operator that it knows."""

    def __init__(self, constants: dict[str, Any], input_shape: Size) -> None:
        self.constants = constants
        self.values: dict[str, int] = {}
        self.network = OnnxNetwork()
        self._sizes: dict[int, Size] = {IMAGES: input_shape}
        self._means: set[int] = set()  # values that are no planes any more
        self._padding: dict[str, tuple[int, int, int, int]] = {}
        self._made_by: dict[str, str] = {}  # output -> operator, to tell what is not known of it

    def take(self, node: onnx.NodeProto) -> None:
        """Read one node; what it reads was made before."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self._made_by.update(dict.fromkeys(node.output, node.op_type))
        if node.op_type == "Constant":
            self.constants[node.output[0]] = constant(node, attributes)
            return
        if node.op_type == "Identity" and node.input[0] in self.constants:
            self.constants[node.output[0]] = self.constants[node.input[0]]
            return
        if not any(name in self.values for name in node.input):
            return  # the images do not enter here; whoever needs what comes out is refused
        handler = getattr(self, "_op_" + node.op_type.lower(), None)
        if handler is None or node.domain not in ("", "ai.onnx"):
            raise refusal(node, "the kernels do not know this operator")
        handler(node, attributes)

    def finish(self, output: str) -> OnnxNetwork:
        """The network that returns this output."""
        network = self.network
        network.output = self.values.get(output, IMAGES)
        if network.output not in self._means or output in self._padding:
            raise UnsupportedOnnxError(f"the output '{output}' is not a mean over planes")
        network.steps = fuse(network.steps, network.output)
        return network

    def _op_conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        name = node.name or node.output[0]
        weight = np.array(self._constant(node, 1), np.float32)
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = np.array(self._constant(node, 2), np.float32)
        if weight.ndim != 4:
            raise refusal(node, "only 2-d convolutions")
        geometry = self._geometry(node, attributes, weight.shape)
        if name in self.network.layers:
            raise refusal(node, "another convolution has the same name")
        self.network.layers[name] = (weight, bias, geometry)
        self._add(node, NormStep(self._value(node, 0, padded=True), self._next(), name))

    def _geometry(
        self, node: onnx.NodeProto, attributes: dict[str, Any], shape: tuple[int, ...]
    ) -> Geometry:
        """Of a convolution whose weight has this shape."""
        groups, pads = attributes.get("group", 1), window_pads(node, attributes)
        # Another convolution may read the same padded planes.
        before = self._padding.get(node.input[0], (0, 0, 0, 0))
        top, left, below, right = (a + b for a, b in zip(pads, before, strict=True))
        return Geometry(
            shape[0],
            shape[1] * groups,
            (shape[2], shape[3]),
            tuple(attributes.get("strides", (1, 1))),
            (top, left, below, right),
            tuple(attributes.get("dilations", (1, 1))),
            groups,
        )

    def _op_pad(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        given = attributes.get("pads")  # before opset 11
        pads = [int(p) for p in (self._constant(node, 1) if given is None else given)]
        value = float(attributes.get("value", 0.0))
        if len(node.input) > 2 and node.input[2]:
            value = float(self._constant(node, 2))
        mode, axes = attributes.get("mode", b"constant"), len(node.input) > 3
        planes = len(pads) == 8 and not axes and not any(pads[i] for i in (0, 1, 4, 5))
        if mode != b"constant" or value != 0 or not planes or min(pads) < 0:
            raise refusal(node, "only planes padded with zeros")
        self.values[node.output[0]] = self._value(node, 0)
        if any(pads):
            self._padding[node.output[0]] = (pads[2], pads[3], pads[6], pads[7])

    def _op_relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._add(node, ActStep(self._value(node, 0), self._next(), RELU))

    def _op_clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        bounds = [float(attributes.get("min", -np.inf)), float(attributes.get("max", np.inf))]
        for i, name in enumerate(node.input[1:]):
            if name:
                bounds[i] = float(self._constant(node, i + 1))
        # Bounds that are left out were the largest floats once.
        known = {(0.0, 6.0): RELU6, (0.0, np.inf): RELU, (-np.inf, np.inf): NONE}
        low, high = (np.inf * np.sign(b) if abs(b) >= _LARGEST else b for b in bounds)
        if (low, high) not in known:
            raise refusal(
                node, f"a clip to {low:g}..{high:g}; only 0..6 (ReLU6) and 0..inf (ReLU) are known"
            )
        self._add(node, ActStep(self._value(node, 0), self._next(), known[low, high]))

    def _op_add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._add(node, ActStep(self._value(node, 0), self._next(), NONE, self._value(node, 1)))

    def _op_maxpool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        pads = window_pads(node, attributes)
        for name, usual in (("ceil_mode", 0), ("dilations", [1, 1])):
            if attributes.get(name, usual) != usual:
                raise refusal(node, f"{name} {attributes[name]} is not known")
        if len(node.output) > 1:  # storage_order is about them alone
            raise refusal(node, "the places of the maxima are not known")
        if len(kernel) != 2 or not len(set(kernel)) == len(set(strides)) == len(set(pads)) == 1:
            raise refusal(node, "only square windows, padded alike on all sides")
        if pads[0] >= kernel[0]:
            raise refusal(node, "a window without a pixel")
        step = MaxPoolStep(self._value(node, 0), self._next(), kernel[0], strides[0], pads[0])
        self._add(node, step)

    def _op_globalaveragepool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._add(node, MeanStep(self._value(node, 0), self._next()))

    def _op_reducemean(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        axes = attributes.get("axes")
        if axes is None and len(node.input) > 1:
            axes = [int(a) for a in self._constant(node, 1)]
        if sorted(a % 4 for a in axes or []) != [2, 3]:
            raise refusal(node, "only the mean over whole planes")
        self._add(node, MeanStep(self._value(node, 0), self._next()))

    def _same(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        value = self.values.get(node.input[0])
        if value not in self._means:
            raise refusal(node, "it stands before the mean over planes")
        self.values[node.output[0]] = value

    _op_squeeze = _same

    def _op_flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("axis", 1) != 1:
            raise refusal(node, "only axis 1 leaves one row for each image")
        self._same(node, attributes)

    def _op_reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._same(node, attributes)
        shape = [int(n) for n in self._constant(node, 1).reshape(-1)]
        channels = self._channels(self.values[node.output[0]])
        # Only the second is looked at: the first is the batch, of any size.
        if shape[1:2] not in ([-1], [0], [channels]) or any(abs(n) != 1 for n in shape[2:]):
            raise refusal(node, f"{shape} is not one row of {channels} for each image")

    def _op_identity(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if self.values.get(node.input[0]) in self._means:
            self._same(node, attributes)
        else:
            self.values[node.output[0]] = self._value(node, 0)

    def _op_gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._same(node, attributes)
        if self.network.head is not None or attributes.get("transA", 0):
            raise refusal(node, "more than one linear layer, or one of transposed images")
        weight = np.array(self._constant(node, 1), np.float32)
        weight = weight if attributes.get("transB", 0) else weight.T
        channels = self._channels(self.values[node.output[0]])
        if weight.shape[1:] != (channels,):
            raise refusal(node, f"a weight of {list(weight.shape)} for {channels} features")
        bias = np.zeros(len(weight), np.float32)
        if len(node.input) > 2 and node.input[2]:
            given = np.array(self._constant(node, 2), np.float32)
            if given.size not in (1, len(weight)) or (given.ndim > 1 and given.shape[0] != 1):
                raise refusal(node, f"a bias of {list(given.shape)}")
            bias += given.reshape(-1)
        scale, shift = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        self.network.head = (np.ascontiguousarray(weight * scale), bias * shift)

    def _constant(self, node: onnx.NodeProto, position: int) -> Any:
        name = node.input[position]
        if name not in self.constants:
            made = f"{self._made_by[name]} computes it" if name in self._made_by else "it is not"
            raise refusal(node, f"its input '{name}' must be stored in the file, but {made}")
        return self.constants[name]

    def _value(self, node: onnx.NodeProto, position: int, *, padded: bool = False) -> int:
        """The planes that a node reads; only convolutions take those of a Pad."""
        name = node.input[position]
        if name not in self.values:
            raise refusal(node, f"its input '{name}' is not computed from the images")
        if name in self._padding and not padded:
            raise refusal(node, f"only convolutions can read the padded '{name}'")
        if self.values[name] in self._means:
            raise refusal(node, "it stands behind the mean over planes or the linear layer")
        return self.values[name]

    def _channels(self, value: int) -> int:
        return self._sizes[value][0]

    def _next(self) -> int:
        return len(self.network.steps) + 1

    def _add(self, node: onnx.NodeProto, step: Step) -> None:
        try:
            self._sizes[step.out] = size_after(step, self._sizes, self.network.layers)
        except SparsebenchError as error:
            raise refusal(node, error.cause) from error
        if isinstance(step, MeanStep):
            self._means.add(step.out)
        self.network.steps.append(step)
        self.values[node.output[0]] = step.out
