"""An INT8 ONNX file, of the ``integer`` form, read as steps for generated code.

``exporters/onnx/quantise.py`` writes the form: QuantizeLinear, ConvInteger, Add of an int32 bias,
Cast, Mul by a scale for each channel, and floats between. Here a value is held as bytes where the
graph quantizes it, rounded once, in the epilogue of the convolution that makes it. A max-pool
in floats whose output is quantized becomes one of bytes: rounding keeps the order of numbers.
A detector's graph also enlarges planes, and returns several of them as one row for each image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    ResizeStep,
    RowsStep,
    Step,
    fuse,
)
from sparsebench.exporters.kernels.generated.byte_convolution import ByteWeights, fours
from sparsebench.exporters.kernels.generated.byte_sums import FOUR
from sparsebench.exporters.kernels.inference.byte_values import ByteNetwork, Scale
from sparsebench.exporters.kernels.inference.enlarging import repeats
from sparsebench.exporters.kernels.inference.onnx_nodes import (
    UnsupportedOnnxError,
    needed,
    refusal,
)
from sparsebench.exporters.kernels.inference.onnx_reader import GraphReader, OnnxNetwork
from sparsebench.exporters.kernels.inference.sizes import Size
from sparsebench.exporters.kernels.inference.thinning import thin_inputs


def read_bytes(path: str, input_shape: tuple[int, int, int]) -> ByteNetwork:
    """Read a convolutional network whose convolutions are ConvInteger.

    Args:
        path: of the file.
        input_shape: ``(C, H, W)`` of an image, at most four channels.

    Raises:
        UnsupportedOnnxError: an operator or one of its attributes is not supported.
        SparsebenchError: a layer's sums can overflow.
        OSError: the file cannot be read.
    """
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    reader = ByteReader(constants, input_shape)
    images = [i.name for i in graph.input if i.name not in reader.constants]
    if len(images) != 1 or input_shape[0] > FOUR:
        raise UnsupportedOnnxError(
            f"the network has {len(images)} inputs of {input_shape[0]} channels; one of at most "
            f"{FOUR} can be quantized"
        )
    reader.values[images[0]] = IMAGES
    output = graph.output[0].name
    for node in needed(graph, output):
        reader.take(node)
    return reader.finish_bytes(output)


@dataclass(frozen=True)
class _Sums:
    """A convolution whose sums are not scaled yet."""

    node: onnx.NodeProto
    value: int
    weight: NDArray[np.int8]
    geometry: Geometry
    zero: int
    bias: NDArray[np.int64]


@dataclass(frozen=True)
class _Piece:
    """A value in the row that is returned."""

    node: onnx.NodeProto
    value: int
    from_bytes: bool


class ByteReader(GraphReader):
    """Values are those of floats, whether they are held as bytes or not."""

    def __init__(self, constants: dict[str, Any], input_shape: Size) -> None:
        super().__init__(constants, input_shape)
        self._scales: dict[str, Scale] = {}  # tensors of bytes
        self._sums: dict[str, _Sums] = {}
        self._quantised: dict[int, Scale] = {}
        self._dequantised: set[str] = set()
        self._added: dict[tuple[int, int], bool] = {}  # (sum, operand) -> whether from bytes
        self._made: dict[str, _Sums] = {}  # layers
        self._scale: dict[str, NDArray[np.float32]] = {}
        self._nodes: dict[int, onnx.NodeProto] = {}
        self._rows: dict[str, list[_Piece]] = {}
        self._from_bytes: dict[int, bool] = {}  # what enlarging and rows make of dequantized values

    def take(self, node: onnx.NodeProto) -> None:
        """Read a node; whatever reads bytes, integers or rows must be made for them."""
        for made, known, what in (
            (self._scales, _OF_BYTES, "integers"),
            (self._sums, _OF_SUMS, "integers"),
            (self._rows, _OF_ROWS, "rows"),
        ):
            found = [name for name in node.input if name in made]
            if found and node.op_type not in known:
                raise refusal(node, f"in INT8 it cannot read the {what} '{found[0]}'")
        before = len(self.network.steps)
        super().take(node)
        if len(self.network.steps) > before:
            self._nodes[self._next() - 1] = node  # what it writes

    def finish_bytes(self, output: str) -> ByteNetwork:
        """The network that returns this output."""
        pieces = self._rows.get(output)
        network = self.finish(output) if pieces is None else self._finish_rows(pieces)
        held = self._held(network.steps)
        network = thin_inputs(network)
        for step in network.steps:
            if isinstance(step, MaxPoolStep):
                held.setdefault(step.out, held[step.inp])
                self._nodes.setdefault(step.out, self._nodes[step.inp])
        made = ByteNetwork(network.steps, {}, network.output, network.head, bytes=held)
        for step in network.steps:
            self._check(step, held)
            if isinstance(step, NormStep):
                self._layer(made, step, network.layers[step.layer][2])
        made.channels = self._sizes[network.output][0]
        if pieces is not None:
            made.channels = sum(math.prod(self._sizes[piece.value]) for piece in pieces)
        made.image_channels = self._sizes[IMAGES][0]
        return made

    def _finish_rows(self, pieces: list[_Piece]) -> OnnxNetwork:
        """The network that returns values one behind the other in a row for each image."""
        network, first = self.network, 0
        for piece in pieces:
            channels = self._sizes[piece.value][0]
            step = RowsStep(piece.value, self._next(), first, channels)
            first += math.prod(self._sizes[piece.value])
            self._sizes[step.out] = self._sizes[piece.value]
            self._nodes[step.out], self._from_bytes[step.out] = piece.node, piece.from_bytes
            network.steps.append(step)
            network.output = step.out
        network.steps = fuse(network.steps, network.output)
        return network

    def _held(self, steps: list[Step]) -> dict[int, Scale]:
        """Values as bytes: what is quantized, what a max-pool makes such a value of, and what is
        enlarged of one."""
        held = dict(self._quantised)
        for step in reversed(steps):
            if isinstance(step, MaxPoolStep):
                scale = held.get(step.out)
                if scale is None or held.setdefault(step.inp, scale) != scale:
                    raise refusal(
                        self._nodes[step.out],
                        "its output must be quantized, and its input not in another way",
                    )
        for step in steps:
            if isinstance(step, ResizeStep) and (scale := held.get(step.inp)) is not None:
                if held.setdefault(step.out, scale) == scale:
                    continue
                raise refusal(self._nodes[step.out], "its output is quantized in another way")
        return held

    def _check(self, step: Step, held: Mapping[int, Scale]) -> None:
        node = self._nodes[step.out]
        if isinstance(step, ActStep):
            raise refusal(node, "in INT8 only behind a convolution")
        if isinstance(step, MeanStep) and step.inp in held:
            raise refusal(node, "its input is quantized; in INT8 only the mean of floats")
        if isinstance(step, ResizeStep) and step.out in held and step.inp not in held:
            raise refusal(node, "its output is quantized and its input is not")
        read, from_bytes = step.residual, False
        if isinstance(step, ResizeStep | RowsStep):
            read, from_bytes = step.inp, self._from_bytes[step.out]
        elif read is not None:
            from_bytes = self._added.get((step.out, read), False)
        if read is not None and from_bytes != (read in held):
            raise refusal(node, "a value is read both as floats and as bytes")

    def _layer(self, made: ByteNetwork, step: NormStep, geometry: Geometry) -> None:
        sums, scale = self._made[step.layer], self._scale[step.layer]
        if step.inp not in made.bytes:
            raise refusal(sums.node, "its input is not quantized")
        layer = ByteWeights.of(sums.weight, sums.bias, scale, geometry, sums.zero)
        made.weights[step.layer] = (layer, geometry)
        outs, ins = fours(geometry.out_channels), fours(geometry.in_channels)
        vectors = outs if step.out in made.bytes else FOUR * outs
        counted = replace(geometry, out_channels=vectors, in_channels=ins, groups=1)
        made.layers[step.layer] = (layer.pattern(), None, counted)  # type: ignore[assignment]

    def _op_quantizelinear(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        value, scale = self._value(node, 0, padded=True), self._scale_of(node)
        if self._quantised.setdefault(value, scale) != scale:
            raise refusal(node, f"'{node.input[0]}' is quantized in two ways")
        self.values[node.output[0]], self._scales[node.output[0]] = value, scale
        if node.input[0] in self._padding:  # its zeros become the byte that means zero
            self._padding[node.output[0]] = self._padding[node.input[0]]

    def _op_dequantizelinear(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        name = node.input[0]
        if self._scales.get(name) != self._scale_of(node):
            raise refusal(node, f"'{name}' is not quantized with the same step")
        self.values[node.output[0]] = self._value(node, 0)
        self._dequantised.add(node.output[0])

    def _op_conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        raise refusal(node, "only as ConvInteger of quantized values")

    def _op_convinteger(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if node.input[0] not in self._scales:
            raise refusal(node, f"its input '{node.input[0]}' is not quantized")
        zeros = [
            self._constant(node, i) if len(node.input) > i and node.input[i] else np.uint8(0)
            for i in (2, 3)
        ]
        zero = self._scales[node.input[0]][1]
        if zeros[0].size != 1 or int(zeros[0].reshape(-1)[0]) != zero:
            raise refusal(node, "its zero point is not that of its input")
        stored = self._constant(node, 1).astype(np.int64)
        if stored.ndim != 4:
            raise refusal(node, "only 2-d convolutions")
        weight = stored - zeros[1].astype(np.int64).reshape(-1, 1, 1, 1)
        if weight.size and (weight.min() < -128 or weight.max() > 127):
            raise refusal(node, "weights less their zero point do not fit 8 bits with a sign")
        geometry = self._geometry(node, attributes, stored.shape)
        bias = np.zeros(len(weight), np.int64)
        value = self._value(node, 0, padded=True)
        sums = _Sums(node, value, weight.astype(np.int8), geometry, zero, bias)
        self.values[node.output[0]], self._sums[node.output[0]] = value, sums

    def _op_add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        at = [i for i, name in enumerate(node.input) if name in self._sums]
        if not at:
            super()._op_add(node, attributes)
            out = self.values[node.output[0]]
            for name in node.input:
                self._added[out, self.values[name]] = name in self._dequantised
            return
        sums = self._sums[node.input[at[0]]]
        bias = self._for_channels(node, 1 - at[0], sums)
        if bias.dtype != np.int32:
            raise refusal(node, f"a bias of {bias.dtype}; sums take int32")
        self._continue(node, replace(sums, bias=sums.bias + bias))

    def _op_cast(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if node.input[0] not in self._sums or attributes.get("to") != TensorProto.FLOAT:
            raise refusal(node, "only sums become floats")
        self._continue(node, self._sums[node.input[0]])

    def _op_mul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        at = [i for i, name in enumerate(node.input) if name in self._sums]
        if len(at) != 1:
            raise refusal(node, "only sums are multiplied by a constant")
        sums = self._sums[node.input[at[0]]]
        name = sums.node.name or sums.node.output[0]
        if name in self._made:
            raise refusal(sums.node, "it is read twice, or another one has its name")
        self._made[name] = sums
        self._scale[name] = self._for_channels(node, 1 - at[0], sums).astype(np.float32)
        no_weight = np.zeros(0, np.float32)
        self.network.layers[name] = (no_weight, None, sums.geometry)
        self._add(node, NormStep(sums.value, self._next(), name))

    def _op_relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        super()._op_relu(node, attributes)
        self._keep_added(node)

    def _op_clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        super()._op_clip(node, attributes)
        self._keep_added(node)

    def _keep_added(self, node: onnx.NodeProto) -> None:
        """An activation that is fused into a sum has the sum's operands."""
        inner, out = self.values[node.input[0]], self.values[node.output[0]]
        found = {(out, v): told for (s, v), told in self._added.items() if s == inner}
        self._added |= found

    def _op_resize(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        value, name, out = self._value(node, 0), node.input[0], node.output[0]
        shape = (1, *self._sizes[value])
        given = [self._constant(node, i) if name else None for i, name in enumerate(node.input)
                 if i > 1]  # fmt: skip
        down, across = repeats(node, attributes, shape, *given)
        if down != across:
            raise refusal(node, "only planes enlarged alike on both axes")
        self._add(node, ResizeStep(value, self._next(), down))
        # As early as can be: a sum is fused into the later of its operands, a convolution then.
        steps = self.network.steps
        made = next((i + 1 for i, step in enumerate(steps) if step.out == value), 0)
        steps.insert(made, steps.pop())
        self._from_bytes[self.values[out]] = name in self._dequantised
        if name in self._dequantised:
            self._dequantised.add(out)

    def _op_flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if self.values.get(node.input[0]) in self._means:
            super()._op_flatten(node, attributes)
            return
        if attributes.get("axis", 1) != 1:
            raise refusal(node, "only axis 1 leaves one row for each image")
        self._row_of(node)

    def _op_reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if self.values.get(node.input[0]) in self._means:
            super()._op_reshape(node, attributes)
            return
        shape = [int(n) for n in self._constant(node, 1).reshape(-1)]
        length = math.prod(self._sizes[self._value(node, 0)])
        if len(shape) != 2 or shape[1] not in (-1, length):
            raise refusal(node, f"{shape} is not one row of {length} for each image")
        self._row_of(node)

    def _row_of(self, node: onnx.NodeProto) -> None:
        value, name, out = self._value(node, 0), node.input[0], node.output[0]
        self._rows[out] = [_Piece(node, value, name in self._dequantised)]
        self.values[out] = value

    def _op_concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if not all(name in self._rows for name in node.input) or attributes["axis"] not in (1, -1):
            raise refusal(node, "in INT8 only rows that the network returns are joined")
        self._rows[node.output[0]] = [p for name in node.input for p in self._rows[name]]
        self.values[node.output[0]] = self.values[node.input[0]]

    def _continue(self, node: onnx.NodeProto, sums: _Sums) -> None:
        self.values[node.output[0]], self._sums[node.output[0]] = sums.value, sums

    def _for_channels(self, node: onnx.NodeProto, position: int, sums: _Sums) -> NDArray[Any]:
        """A constant ``[O]``, one for each output channel."""
        found = np.asarray(self._constant(node, position))
        count = sums.geometry.out_channels
        if found.size == 1:
            return np.full(count, found.reshape(-1)[0])
        if found.size != count or found.ndim < 3 or found.shape[-3] != count:
            raise refusal(node, f"{list(found.shape)} is not a number for each of {count} channels")
        return found.reshape(-1)

    def _scale_of(self, node: onnx.NodeProto) -> Scale:
        step = self._constant(node, 1)
        zero = self._constant(node, 2) if len(node.input) > 2 and node.input[2] else np.uint8(0)
        if step.size != 1 or zero.size != 1 or zero.dtype != np.uint8 or not step.min() > 0:
            raise refusal(node, "only 8 bits without a sign, with one step for the whole tensor")
        return float(step.reshape(-1)[0]), int(zero.reshape(-1)[0])


_OF_BYTES = ("DequantizeLinear", "ConvInteger")
_OF_SUMS = ("Add", "Cast", "Mul")
_OF_ROWS = ("Concat",)
