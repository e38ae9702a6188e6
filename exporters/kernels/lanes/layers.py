"""Operators with weights, products and windows; what stands behind a layer goes into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6
from sparsebench.exporters.kernels.inference.onnx_nodes import refusal, window_pads
from sparsebench.exporters.kernels.lanes.reader import Attributes, Reader
from sparsebench.exporters.kernels.lanes.steps import LayerStep, ProductStep, WindowStep
from sparsebench.exporters.kernels.lanes.values import View
from sparsebench.models.errors import SparsebenchError

_MOST_TAPS = 64  # that a place of the generated code can leave out at a border


def _conv(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    weight = np.array(reader.constant(node, 1), np.float32)
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = np.array(reader.constant(node, 2), np.float32)
    if weight.ndim != 4:
        raise refusal(node, "only 2-d convolutions")
    groups, name = attributes.get("group", 1), node.input[0]
    pads = _pads(node, attributes, _raw(reader, name), weight.shape[2:])
    before = reader.padded.get(name, (0, 0, 0, 0))
    top, left, below, right = (a + b for a, b in zip(pads, before, strict=True))
    padding = (top, left, below, right)
    if any(padding) and weight.shape[2] * weight.shape[3] > _MOST_TAPS:
        x = reader.bordered(_raw(reader, name), padding)
        padding = (0, 0, 0, 0)
    else:
        x = _raw(reader, name)
    geometry = Geometry(
        weight.shape[0],
        weight.shape[1] * groups,
        (weight.shape[2], weight.shape[3]),
        tuple(attributes.get("strides", (1, 1))),
        padding,
        tuple(attributes.get("dilations", (1, 1))),
        groups,
    )
    if x.shape[1] != geometry.in_channels:
        raise refusal(node, f"a convolution of {geometry.in_channels} cannot read {x.shape[1]}")
    out = reader.new((1, weight.shape[0], *_size(node, geometry, x)), (0, 2, 3, 1))
    _layer(reader, node, weight, bias, geometry, _planes(x), out, _planes(out))


def _pads(
    node: onnx.NodeProto, attributes: Attributes, x: View, kernel: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """(above, left, below, right); those of TensorFlow's "SAME" follow from the plane's size."""
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto not in (b"SAME_UPPER", b"SAME_LOWER"):
        return window_pads(node, attributes)
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    before, after = [], []
    for axis in (0, 1):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        size = x.shape[2 + axis]
        total = max(0, (-(-size // strides[axis]) - 1) * strides[axis] + reach - size)
        less, more = total // 2, total - total // 2
        before.append(less if auto == b"SAME_UPPER" else more)
        after.append(more if auto == b"SAME_UPPER" else less)
    return before[0], before[1], after[0], after[1]


def _raw(reader: Reader, name: str) -> View:
    """A value without the border that a Pad put around it."""
    value = reader.values[name]
    return value if isinstance(value, View) else reader.view(name)


def _planes(view: View) -> View:
    found = view.changed(lambda a: a[0])
    assert found is not None
    return found


def _size(node: onnx.NodeProto, geometry: Geometry, x: View) -> tuple[int, int]:
    try:
        return geometry.output_size(x.shape[2], x.shape[3])
    except SparsebenchError as error:
        raise refusal(node, error.cause) from error


def _layer(
    reader: Reader,
    node: onnx.NodeProto,
    weight: Any,
    bias: Any,
    geometry: Geometry,
    inp: View,
    value: View,
    out: View,
) -> None:
    name = node.name or node.output[0]
    if name in reader.names:
        raise refusal(node, "another layer has the same name")
    reader.names.add(name)
    step = LayerStep(name, weight, bias, geometry, inp, out)
    reader.steps.append(step)
    reader.values[node.output[0]] = value
    reader.layer_of[node.output[0]] = step


def _matmul(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    right = reader.values[node.input[1]]
    x = reader.view(node.input[0])
    if isinstance(right, View):
        _product(reader, node, x, reader.view(node.input[1]))
        return
    weight = np.array(right, np.float32)
    if weight.ndim != 2:
        raise refusal(node, f"a stored matrix of shape {list(weight.shape)}")
    _linear(reader, node, x, np.ascontiguousarray(weight.T), None)


def _gemm(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    if attributes.get("transA", 0):
        raise refusal(node, "a linear layer of transposed images")
    weight = np.array(reader.constant(node, 1), np.float32)
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = np.array(reader.constant(node, 2), np.float32).reshape(-1)
        bias = np.broadcast_to(bias, len(weight)) * np.float32(attributes.get("beta", 1.0))
    weight = np.ascontiguousarray(weight * np.float32(attributes.get("alpha", 1.0)))
    _linear(reader, node, reader.view(node.input[0]), weight, bias)


def _linear(reader: Reader, node: onnx.NodeProto, x: View, weight: Any, bias: Any) -> None:
    outputs, inputs = weight.shape
    if x.shape[-1] != inputs:
        raise refusal(node, f"a weight of {list(weight.shape)} for {x.shape[-1]} features")
    rows = int(np.prod(x.shape[:-1]))
    flat = x.reshaped((rows, inputs))
    if flat is None:
        flat = reader.copied(x).reshaped((rows, inputs))
    assert flat is not None
    inp = flat.changed(lambda a: a.T[:, :, None])
    value = reader.new((*x.shape[:-1], outputs))
    plane = value.reshaped((rows, outputs))
    assert inp is not None and plane is not None
    out = plane.changed(lambda a: a.T[:, :, None])
    assert out is not None
    kernel = np.ascontiguousarray(weight[:, :, None, None])
    _layer(reader, node, kernel, bias, Geometry(outputs, inputs, (1, 1)), inp, value, out)


def _product(reader: Reader, node: onnx.NodeProto, a: View, b: View) -> None:
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise refusal(node, f"{list(a.shape)} times {list(b.shape)}")
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = a.broadcast((*leading, *a.shape[-2:])), b.broadcast((*leading, *b.shape[-2:]))
    shape = (*leading, a.shape[-2], b.shape[-1])
    rank = len(shape)
    # Rows outermost: what attention does next, heads side by side, is then the same memory.
    out = reader.new(shape, [rank - 2, *range(rank - 2), rank - 1])
    reader.steps.append(ProductStep(a, b, out))
    reader.values[node.output[0]] = out


def _channels(layer: LayerStep, value: View, other: Any) -> Any:
    """A constant as one number for each output channel of a layer; None where it is none."""
    array = np.asarray(other, np.float32)
    outputs = layer.geometry.out_channels
    axis = 1 if len(value.shape) == 4 and value.strides[1] == 1 else len(value.shape) - 1
    if array.size == 1:
        return np.full(outputs, array.reshape(()), np.float32)
    lifted = array.reshape((1,) * (len(value.shape) - array.ndim) + array.shape)
    if lifted.shape[axis] == array.size == outputs:
        return lifted.reshape(-1)
    return None


def _add(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    first, second = node.input
    for name, other in ((first, second), (second, first)):
        layer = reader.window_alone(name)
        if layer is None or layer.act != NONE:
            continue
        value, added = reader.values[name], reader.values[other]
        assert isinstance(value, View)
        if not isinstance(added, View):
            shift = _channels(layer, value, added)
            if shift is None or layer.residual is not None:
                continue
            layer.bias = shift if layer.bias is None else layer.bias + shift
        else:
            same = (added.shape, added.strides) == (value.shape, value.strides)
            if layer.residual is not None or not same or added == value or other in reader.padded:
                continue
            layer.residual = added
            reader.move_last(layer)
        reader.values[node.output[0]] = value
        reader.layer_of[node.output[0]] = layer
        return
    reader.values[node.output[0]] = reader.elementwise("add", _both(reader, node))


def _mul(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    first, second = node.input
    for name, other in ((first, second), (second, first)):
        layer, factor = reader.window_alone(name), reader.values[other]
        if layer is None or layer.act != NONE or layer.residual is not None:
            continue
        value = reader.values[name]
        assert isinstance(value, View)
        if isinstance(factor, View) or (scale := _channels(layer, value, factor)) is None:
            continue
        _scale(layer, scale)
        reader.values[node.output[0]] = value
        reader.layer_of[node.output[0]] = layer
        return
    reader.values[node.output[0]] = reader.elementwise("mul", _both(reader, node))


def _scale(layer: LayerStep, factor: Any) -> None:
    # A weight that is not zero stays none, unless the factor is.
    layer.weight = layer.weight * factor.reshape(-1, 1, 1, 1).astype(np.float32)
    if layer.bias is not None:
        layer.bias = layer.bias * factor


def _both(reader: Reader, node: onnx.NodeProto) -> list[Any]:
    values = [reader.values[name] for name in node.input]
    return [reader.view(n) if isinstance(v, View) else v
            for n, v in zip(node.input, values, strict=True)]  # fmt: skip


def _act(act: int) -> Callable[[Reader, onnx.NodeProto, Attributes], None]:
    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        name, out = node.input[0], node.output[0]
        layer = reader.window_alone(name)
        if layer is not None and layer.act == NONE:
            layer.act = act
            reader.values[out] = reader.values[name]
            return
        found = reader.elementwise("max", [reader.view(name), 0.0])
        reader.values[out] = reader.elementwise("min", [found, 6.0]) if act == RELU6 else found

    return take


def _batch_norm(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    scale, shift, mean, variance = (
        np.asarray(reader.constant(node, i), np.float64) for i in range(1, 5)
    )
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    offset = (shift - mean * factor).astype(np.float32)
    factor = factor.astype(np.float32)
    name, out = node.input[0], node.output[0]
    layer = reader.window_alone(name)
    if layer is not None and layer.act == NONE and layer.residual is None:
        _scale(layer, factor)
        layer.bias = offset if layer.bias is None else layer.bias + offset
        reader.values[out] = reader.values[name]
        reader.layer_of[out] = layer
        return
    x = reader.view(name)
    shape = (1, -1, *[1] * (len(x.shape) - 2))
    found = reader.elementwise("mul", [x, factor.reshape(shape)])
    reader.values[out] = reader.elementwise("add", [found, offset.reshape(shape)])


def _pad(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    given = attributes.get("pads")
    pads = [int(p) for p in (reader.constant(node, 1) if given is None else given)]
    value = float(attributes.get("value", 0.0))
    if len(node.input) > 2 and node.input[2]:
        value = float(np.asarray(reader.constant(node, 2)).reshape(()))
    x = reader.view(node.input[0])
    rank = len(x.shape)
    axes = len(node.input) > 3 and node.input[3]
    mode = attributes.get("mode", b"constant")
    plain = mode == b"constant" and value == 0 and not axes and min(pads) >= 0
    planes = rank == 4 and not any(pads[i] for i in (0, 1, 4, 5))
    if any(pads) and not (plain and planes):
        raise refusal(node, "only planes padded with zeros")
    reader.values[node.output[0]] = x
    if any(pads):
        reader.padded[node.output[0]] = (pads[2], pads[3], pads[6], pads[7])


def _pool(*, mean: bool) -> Callable[[Reader, onnx.NodeProto, Attributes], None]:
    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        kernel = tuple(attributes["kernel_shape"])
        count_all = bool(attributes.get("count_include_pad", 0))
        beyond = bool(attributes.get("ceil_mode", 0))
        if len(kernel) != 2 or len(node.output) > 1 or (beyond and count_all and mean):
            raise refusal(node, "only windows of planes, without the places of their maxima")
        x = reader.view(node.input[0])
        geometry = Geometry(
            x.shape[1],
            x.shape[1],
            kernel,
            tuple(attributes.get("strides", (1, 1))),
            _pads(node, attributes, x, kernel),
            tuple(attributes.get("dilations", (1, 1))),
            x.shape[1],
        )
        if beyond:
            geometry = _hanging_over(geometry, x)
        out = reader.new((1, x.shape[1], *_size(node, geometry, x)), (0, 2, 3, 1))
        reader.steps.append(WindowStep(_planes(x), _planes(out), geometry, mean, count_all))
        reader.values[node.output[0]] = out

    return take


def _hanging_over(geometry: Geometry, x: View) -> Geometry:
    """With so much more padding that the last window, which hangs over, has its place."""
    pads = list(geometry.padding)
    for axis in (0, 1):
        reach = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1
        room = x.shape[2 + axis] + pads[axis] + pads[2 + axis] - reach
        steps = -(-room // geometry.stride[axis])
        if steps * geometry.stride[axis] >= x.shape[2 + axis] + pads[axis]:
            steps -= 1  # it would see padding alone
        pads[2 + axis] += max(0, steps * geometry.stride[axis] - room)
    return replace(geometry, padding=(pads[0], pads[1], pads[2], pads[3]))


def _plane_mean(reader: Reader, x: View) -> View:
    """``[1, C, 1, 1]``: the mean over whole planes."""
    geometry = Geometry(x.shape[1], x.shape[1], (x.shape[2], x.shape[3]), groups=x.shape[1])
    out = reader.new((1, x.shape[1], 1, 1), (0, 2, 3, 1))
    reader.steps.append(WindowStep(_planes(x), _planes(out), geometry, True, True))
    return out


def _global_mean(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    reader.values[node.output[0]] = _plane_mean(reader, reader.view(node.input[0]))


LAYERS: dict[str, Callable[..., Any]] = {
    "plane_mean": _plane_mean,
    "Conv": _conv,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Add": _add,
    "Mul": _mul,
    "Relu": _act(RELU),
    "relu6": _act(RELU6),
    "BatchNormalization": _batch_norm,
    "Pad": _pad,
    "MaxPool": _pool(mean=False),
    "AveragePool": _pool(mean=True),
    "GlobalAveragePool": _global_mean,
}
