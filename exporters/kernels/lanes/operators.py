"""ONNX operators: each reads its inputs from the reader and leaves a view, a constant or a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sparsebench.exporters.kernels.inference.onnx_nodes import refusal
from sparsebench.exporters.kernels.lanes.layers import LAYERS
from sparsebench.exporters.kernels.lanes.reader import Attributes, Reader
from sparsebench.exporters.kernels.lanes.resize import resize
from sparsebench.exporters.kernels.lanes.values import View

Handler = Callable[[Reader, onnx.NodeProto, Attributes], None]


def _unary(op: str) -> Handler:
    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        reader.values[node.output[0]] = reader.elementwise(op, [reader.view(node.input[0])])

    return take


def _binary(op: str) -> Handler:
    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        found = _operand(reader, node.input[0])
        for name in node.input[1:]:
            found = reader.elementwise(op, [found, _operand(reader, name)])
        reader.values[node.output[0]] = found

    return take


def _operand(reader: Reader, name: str) -> Any:
    value = reader.values[name]
    return reader.view(name) if isinstance(value, View) else value


def _chain(*ops: tuple[str, Any]) -> Handler:
    """Operators one after the other, each on what the one before made and a number or ``x``."""

    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        x = reader.view(node.input[0])
        found = x
        for op, other in ops:
            given = [found] if other is None else [found, x if other == "x" else other]
            found = reader.elementwise(op, given)
        reader.values[node.output[0]] = found

    return take


def _leaky(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    slope = attributes.get("alpha", 0.01)
    x = reader.view(node.input[0])
    reader.values[node.output[0]] = reader.elementwise("leaky", [x], (slope, 0.0))


def _hard_sigmoid(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    numbers = (attributes.get("alpha", 0.2), attributes.get("beta", 0.5))
    x = reader.view(node.input[0])
    reader.values[node.output[0]] = reader.elementwise("hard_sigmoid", [x], numbers)


def _hard_swish(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    gate = reader.elementwise("hard_sigmoid", [x], (1 / 6, 0.5))
    reader.values[node.output[0]] = reader.elementwise("mul", [x, gate])


def _clip(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    low, high = attributes.get("min"), attributes.get("max")
    if len(node.input) > 1 and node.input[1]:
        low = reader.constant(node, 1)
    if len(node.input) > 2 and node.input[2]:
        high = reader.constant(node, 2)
    if (low, high) == (0, 6):
        LAYERS["relu6"](reader, node, attributes)
        return
    found = reader.view(node.input[0])
    for op, bound in (("max", low), ("min", high)):
        if bound is not None:
            found = reader.elementwise(op, [found, float(np.asarray(bound).reshape(()))])
    reader.values[node.output[0]] = found


def _pow(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    power = _operand(reader, node.input[1])
    square = not isinstance(power, View) and np.size(power) == 1 and np.all(np.asarray(power) == 2)
    given = ("mul", [x, x]) if square else ("pow", [x, power])
    reader.values[node.output[0]] = reader.elementwise(*given)


def _softmax(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    axis = attributes.get("axis", -1 if reader.opset >= 13 else 1) % len(x.shape)
    if reader.opset < 13 and axis != len(x.shape) - 1:
        raise refusal(node, "only along the last axis before opset 13")
    less = reader.elementwise("sub", [x, reader.reduce("most", x, axis)])
    powers = reader.elementwise("exp", [less])
    total = reader.reduce("sum", powers, axis)
    reader.values[node.output[0]] = reader.elementwise("div", [powers, total])


def _axes(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> list[int] | None:
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = [int(a) for a in np.asarray(reader.constant(node, 1)).reshape(-1)]
    return axes


def _reduce(op: str) -> Handler:
    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        x = reader.view(node.input[0])
        rank = len(x.shape)
        axes = sorted(a % rank for a in _axes(reader, node, attributes) or range(rank))
        if op == "mean" and axes == [rank - 2, rank - 1] and rank == 4:
            found = LAYERS["plane_mean"](reader, x)
        else:
            found = x
            for axis in axes:
                found = reader.reduce(op, found, axis)
        if not attributes.get("keepdims", 1):
            found = _must(found.changed(lambda a: a.squeeze(tuple(axes))))
        reader.values[node.output[0]] = found

    return take


def _layer_norm(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    if attributes.get("axis", -1) % len(x.shape) != len(x.shape) - 1 or len(node.output) > 1:
        raise refusal(node, "only along the last axis, and without its statistics")
    found = _normalised(reader, x, len(x.shape) - 1, attributes.get("epsilon", 1e-5))
    found = reader.elementwise("mul", [found, reader.constant(node, 1)])
    if len(node.input) > 2 and node.input[2]:
        found = reader.elementwise("add", [found, reader.constant(node, 2)])
    reader.values[node.output[0]] = found


def _instance_norm(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    one, channels, *rest = x.shape
    flat = x.reshaped((one, channels, int(np.prod(rest))))
    if flat is None:
        flat = _must(reader.copied(x).reshaped((one, channels, int(np.prod(rest)))))
    found = _normalised(reader, flat, 2, attributes.get("epsilon", 1e-5))
    scale, shift = (np.reshape(reader.constant(node, i), (1, -1, 1)) for i in (1, 2))
    found = reader.elementwise("add", [reader.elementwise("mul", [found, scale]), shift])
    reader.values[node.output[0]] = _reshaped(reader, found, x.shape)


def _normalised(reader: Reader, x: View, axis: int, epsilon: float) -> View:
    centred = reader.elementwise("sub", [x, reader.reduce("mean", x, axis)])
    square = reader.elementwise("mul", [centred, centred])
    variance = reader.elementwise("add", [reader.reduce("mean", square, axis), epsilon])
    return reader.elementwise("div", [centred, reader.elementwise("sqrt", [variance])])


def _reshaped(reader: Reader, x: View, shape: tuple[int, ...]) -> View:
    return x.reshaped(shape) or _must(reader.copied(x).reshaped(shape))


def _reshape(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    shape = [int(n) for n in np.asarray(reader.constant(node, 1)).reshape(-1)]
    if not attributes.get("allowzero", 0):
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    if -1 in shape:
        known = int(np.prod([n for n in shape if n != -1]))
        shape[shape.index(-1)] = int(np.prod(x.shape)) // known
    if np.prod(shape) != np.prod(x.shape):
        raise refusal(node, f"{list(x.shape)} of one image cannot become {shape}")
    reader.values[node.output[0]] = _reshaped(reader, x, tuple(shape))


def _flatten(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    axis = attributes.get("axis", 1) % (len(x.shape) + 1)
    shape = (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))
    reader.values[node.output[0]] = _reshaped(reader, x, shape)


def _moved(change: Callable[[Any, Any, list[int] | None, Attributes], Any]) -> Handler:
    """An operator that only looks at the same numbers otherwise."""

    def take(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
        x = reader.view(node.input[0])
        axes = _axes(reader, node, attributes) if node.op_type != "Transpose" else None
        reader.values[node.output[0]] = _must(
            x.changed(lambda a: change(a, x.shape, axes, attributes))
        )

    return take


def _transposed(array: Any, shape: Any, axes: Any, attributes: Attributes) -> Any:
    return array.transpose(attributes.get("perm", range(len(shape))[::-1]))


def _squeezed(array: Any, shape: Any, axes: Any, attributes: Attributes) -> Any:
    return array.squeeze(tuple(a % len(shape) for a in axes) if axes is not None else None)


def _unsqueezed(array: Any, shape: Any, axes: Any, attributes: Attributes) -> Any:
    return np.expand_dims(array, tuple(axes))


def _identity(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    if node.op_type == "Dropout" and len(node.output) > 1 and reader.uses[node.output[1]]:
        raise refusal(node, "its mask is asked for")
    name, out = node.input[0], node.output[0]
    reader.values[out] = reader.values[name]
    if name in reader.padded:
        reader.padded[out] = reader.padded[name]
    if (layer := reader.window_alone(name)) is not None:
        reader.layer_of[out] = layer


def _slice(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    if len(node.input) == 1:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes"), None
    else:
        given = [
            np.asarray(reader.constant(node, i)).reshape(-1).tolist()
            if len(node.input) > i and node.input[i]
            else None
            for i in range(1, 5)
        ]
        starts, ends, axes, steps = given
    axes = axes if axes is not None else range(len(starts))
    pieces = [slice(None)] * len(x.shape)
    for i, axis in enumerate(axes):
        step = int(steps[i]) if steps else 1
        size = x.shape[axis]
        end = int(ends[i])
        pieces[axis] = slice(int(starts[i]), None if step < 0 and end <= -size - 1 else end, step)
    reader.values[node.output[0]] = _must(x.changed(lambda a: a[tuple(pieces)]))


def _split(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    axis, count = attributes.get("axis", 0), len(node.output)
    sizes = attributes.get("split")
    if sizes is None and len(node.input) > 1 and node.input[1]:
        sizes = [int(n) for n in reader.constant(node, 1)]
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = [min(each, x.shape[axis] - each * i) for i in range(count)]
    first = 0
    for name, size in zip(node.output, sizes, strict=True):
        piece = slice(first, first + size)
        reader.values[name] = _part(x, axis, piece)
        first += size


def _gather(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, index = reader.view(node.input[0]), np.asarray(reader.constant(node, 1))
    axis = attributes.get("axis", 0) % len(x.shape)
    steps = _even_steps(index % x.shape[axis])
    if steps is None:
        raise refusal(node, "only evenly spaced places along an axis")

    def taken(array: NDArray[Any]) -> NDArray[Any]:
        first = int(index.flat[0]) % x.shape[axis]
        start = array[(*[slice(None)] * axis, slice(first, None))]
        stride = array.strides[axis]
        return as_strided(
            start,
            (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]),
            (*array.strides[:axis], *(s * stride for s in steps), *array.strides[axis + 1 :]),
            writeable=False,
        )

    reader.values[node.output[0]] = _must(x.changed(taken))


def _even_steps(index: NDArray[Any]) -> list[int] | None:
    """The distance of neighbours along each axis of places; None where they are uneven.

    torch's newer exporter writes an ``as_strided`` as the places of all its numbers.
    """
    if not index.size:
        return None
    corner = (0,) * index.ndim
    steps = [
        int(np.moveaxis(index, a, 0)[1][corner[1:]] - index[corner]) if index.shape[a] > 1 else 0
        for a in range(index.ndim)
    ]
    grid: tuple[NDArray[Any], ...] = np.indices(index.shape, sparse=True)
    even = index[corner] + sum((s * g for s, g in zip(steps, grid, strict=True)), np.int64(0))
    return steps if np.array_equal(np.broadcast_to(even, index.shape), index) else None


def _expand(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = reader.view(node.input[0])
    shape = np.broadcast_shapes(x.shape, tuple(int(n) for n in reader.constant(node, 1)))
    reader.values[node.output[0]] = x.broadcast(shape)


def _concat(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    given = [_operand(reader, name) for name in node.input]
    views = [g for g in given if isinstance(g, View)]
    axis = attributes["axis"] % len(views[0].shape)
    sizes = [np.shape(g)[axis] if not isinstance(g, View) else g.shape[axis] for g in given]
    shape = list(views[0].shape)
    shape[axis] = sum(sizes)
    largest = max(views, key=lambda v: int(np.prod(v.shape)))
    out = reader.new(shape, largest.order)
    first = 0
    for value, size in zip(given, sizes, strict=True):
        part = _part(out, axis, slice(first, first + size))
        whole = value if isinstance(value, View) else np.broadcast_to(value, part.shape)
        reader.elementwise("copy", [whole], out=part)
        first += size
    reader.values[node.output[0]] = out


def _part(view: View, axis: int, which: Any) -> View:
    """What numpy's indexing takes along one axis."""
    return _must(view.changed(lambda a: a[(*[slice(None)] * axis, which)]))


def _must(view: View | None) -> View:
    assert view is not None
    return view


OPERATORS: dict[str, Handler] = {
    **{name: LAYERS[name] for name in LAYERS if name[0].isupper()},
    "Sub": _binary("sub"),
    "Div": _binary("div"),
    "Max": _binary("max"),
    "Min": _binary("min"),
    "Pow": _pow,
    "Sqrt": _unary("sqrt"),
    "Exp": _unary("exp"),
    "Erf": _unary("erf"),
    "Tanh": _unary("tanh"),
    "Sigmoid": _unary("sigmoid"),
    "Abs": _unary("abs"),
    "Log": _unary("log"),
    "Neg": _chain(("mul", -1.0)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky,
    "Softplus": _chain(("exp", None), ("add", 1.0), ("log", None)),
    "Clip": _clip,
    "Softmax": _softmax,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("most"),
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "Gelu": _unary("gelu"),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _moved(_transposed),
    "Squeeze": _moved(_squeezed),
    "Unsqueeze": _moved(_unsqueezed),
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _identity,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": _expand,
    "Concat": _concat,
    "Resize": resize,
}
