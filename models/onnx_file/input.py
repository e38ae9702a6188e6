"""The only input of an ONNX network for images: its layout, batch, size, and what it scales.

The layout is read from the graph (which axis the first convolution takes for channels) and not
assumed from a name; ``[N, H, W, 3]`` with free sides would else pass for images of 3 px.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.walks import called, consumers, small_constants

if TYPE_CHECKING:
    import onnx

Three = tuple[float, float, float]
# Values in one batch of the file's own size: 512 MiB in float32.
LARGEST_INPUT = 2**27
_CHANNELS = 3
_WANTED = "Wanted is one float32 input [N, 3, H, W]."
_TRANSPOSE = (
    "Wanted is [N, 3, H, W]: export it channels-first (tf2onnx --inputs-as-nchw INPUT, or "
    "onnx2tf's source file), or put a Transpose behind the input."
)
_PASSED = {
    "Cast", "Clip", "DequantizeLinear", "Dropout", "Identity", "Pad", "QuantizeLinear", "Resize",
    "Slice", "Upsample",
}  # fmt: skip
_AFFINE = {"Add", "Sub", "Mul", "Div"}
_CONVOLUTIONS = {"Conv", "QLinearConv", "ConvInteger", "FusedConv"}


@dataclass(frozen=True)
class ImagesInput:
    """What a network takes.

    Attributes:
        name: of the input, float32 ``[N, 3, H, W]``.
        batch: N where the file fixes it, else None.
        side: H and W in pixels where the file fixes them, else None.
        own_scaling: (mean, std) on the 0..1 scale that are left for the images to go through
            where the graph scales them itself: 0 and 1, or 0 and 1/255; None where it does not.
    """

    name: str
    batch: int | None
    side: int | None
    own_scaling: tuple[Three, Three] | None = None


def read_input(path: Path, graph: onnx.GraphProto) -> ImagesInput:
    """Establish what the network takes.

    Raises:
        SparsebenchError: it is not one batch of square RGB images in float32, channels first,
            or the graph does not tell.
    """
    import onnx

    stored = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise SparsebenchError(f"'{path}' has {len(inputs)} inputs ({names}).", _WANTED)
    name, tensor = inputs[0].name, inputs[0].type.tensor_type
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = "something else than a tensor"
        if tensor.elem_type in onnx.TensorProto.DataType.values():
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise SparsebenchError(
            f"'{path}' takes {kind}, not float32 images.",
            f"{_WANTED} Leave the conversion in front of the network out when it is exported.",
        )
    shown = "[" + ", ".join("?" if dim is None else str(dim) for dim in dims) + "]"
    if len(dims) != 4:
        raise SparsebenchError(f"'{path}' takes {shown}, not images.", _WANTED)
    seen = _follow(graph, name)
    _check_layout(path, dims, shown, seen)
    sides = {side for side in dims[2:] if side is not None}
    if len(sides) > 1:
        raise SparsebenchError(f"'{path}' takes {shown}.", "Only square images are prepared.")
    side = next(iter(sides), None)
    if (dims[0] or 1) * _CHANNELS * (side or 1) ** 2 > LARGEST_INPUT:
        raise SparsebenchError(
            f"'{path}' takes {shown}: one batch has more than {LARGEST_INPUT:.2g} values.",
            "Export it with a free or a smaller batch size.",
        )
    return ImagesInput(name, dims[0], side, seen.scaling())


@dataclass
class _Seen:
    """What stands between the input and the first node that is not known here."""

    scale: NDArray[Any]
    shift: NDArray[Any]
    scaled: bool = False
    channels_axis: int | None = None
    """Of the input, as the first convolution reads it."""
    channels: int | None = None
    first: str = ""
    normed: bool = False
    """Whether a batch norm scales it, which networks of scaled images may begin with, too."""
    top: float | None = None
    """The largest value that a clip or rounding lets through, where the smallest is zero."""

    def scaling(self) -> tuple[Three, Three] | None:
        if not (self.scale != 0).all():
            return None
        mean = -self.shift / self.scale
        # Values of 0..255 are made small, or a mean of theirs is taken away.
        bytes_ = bool((np.abs(self.scale) < 0.1).any() or (mean > 1.5).any())
        if not self.scaled and not (self.normed and (bytes_ or (mean > 0.2).all())):
            if self.top is None:
                return None
            bytes_ = self.top > 8
        step = 1 / 255 if bytes_ else 1.0
        return (0.0, 0.0, 0.0), (step, step, step)


def _check_layout(path: Path, dims: list[int | None], shown: str, seen: _Seen) -> None:
    """Refuse what is not ``[N, 3, H, W]``, by what the graph does with it.

    Raises:
        SparsebenchError: channels stand last, are not three, or nothing tells where they stand.
    """
    last = seen.channels_axis == 3
    declared = dims[3] == _CHANNELS != dims[1] and (dims[1] or seen.channels_axis is None)
    if last or declared:
        why = f": {seen.first} reads its last axis as channels" if last else ""
        raise SparsebenchError(f"'{path}' takes {shown}, channels last (NHWC){why}.", _TRANSPOSE)
    if seen.channels_axis not in (None, 1):
        raise SparsebenchError(
            f"'{path}' takes {shown}: {seen.first} reads its axis {seen.channels_axis} as "
            "channels.",
            _WANTED,
        )
    if dims[1] not in (_CHANNELS, None):
        raise SparsebenchError(f"'{path}' takes {shown}, not images.", _WANTED)
    if seen.channels not in (None, _CHANNELS):
        raise SparsebenchError(
            f"'{path}' takes images of {seen.channels} channels ({seen.first}), not of 3 (RGB).",
            _WANTED,
        )
    if dims[1] is None and seen.channels_axis is None:
        raise SparsebenchError(
            f"'{path}' takes {shown}: neither its shape nor its first nodes tell which axis "
            "holds the channels.",
            "Export it with the axis of the channels fixed to 3: [N, 3, H, W].",
        )
    if _CHANNELS in dims[2:]:
        raise SparsebenchError(
            f"'{path}' takes {shown}, images of 3 px: an axis of 3 is one of channels.", _WANTED
        )


def _follow(graph: onnx.GraphProto, name: str) -> _Seen:
    """Go from the input through scaling and turning to the first convolution."""
    read = consumers(graph)
    constants = small_constants(graph)
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            shapes[node.output[0]] = list(node.attribute[0].t.dims)
    maker = {out: node for node in graph.node for out in node.output}
    seen = _Seen(np.ones(3), np.zeros(3))
    axes = [0, 1, 2, 3]  # where each axis of what is read comes from
    for _ in range(64):
        nodes = [node for node in read.get(name, []) if node.op_type not in ("Shape", "Size")]
        if len(nodes) != 1:
            if nodes and all(node.op_type in _CONVOLUTIONS for node in nodes):
                _note_convolution(seen, nodes[0], name, axes, shapes, maker)
            return seen
        (node,) = nodes
        if node.op_type in _CONVOLUTIONS:
            _note_convolution(seen, node, name, axes, shapes, maker)
            return seen
        if node.op_type == "Transpose":
            turn = next((list(a.ints) for a in node.attribute if a.name == "perm"), [3, 2, 1, 0])
            if sorted(turn) != [0, 1, 2, 3]:
                return seen
            axes = [axes[i] for i in turn]
        elif node.op_type in _AFFINE and len(node.input) == 2:
            if not _scale(seen, node, name, axes, constants):
                return seen
        elif node.op_type == "BatchNormalization":
            if not _norm(seen, node, name, axes, constants):
                return seen
        elif node.op_type not in _PASSED or node.input[0] != name:
            return seen
        elif not seen.scaled and seen.top is None:
            seen.top = _top(node, constants)
        name = node.output[0]
    return seen


def _note_convolution(
    seen: _Seen,
    node: onnx.NodeProto,
    name: str,
    axes: list[int],
    shapes: Mapping[str, list[int]],
    maker: Mapping[str, onnx.NodeProto],
) -> None:
    if node.input[0] != name or len(node.input) < 2:
        return
    seen.channels_axis, seen.first = axes[1], called(node)
    weight = node.input[3 if node.op_type == "QLinearConv" and len(node.input) > 3 else 1]
    for _ in range(8):  # behind rounding to whole numbers and back
        if weight in shapes or weight not in maker or not maker[weight].input:
            break
        weight = maker[weight].input[0]
    shape = shapes.get(weight, [])
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    if len(shape) == 4:
        seen.channels = shape[1] * group


def _norm(
    seen: _Seen,
    node: onnx.NodeProto,
    name: str,
    axes: list[int],
    constants: Mapping[str, NDArray[Any]],
) -> bool:
    """Take a batch norm of the images in; False where it is something else."""
    given = [constants.get(part) for part in node.input[1:5]]
    known = [part.reshape(3).astype(np.float64) for part in given
             if part is not None and part.size == _CHANNELS]  # fmt: skip
    if len(known) != 4 or node.input[0] != name or axes[1] not in (1, 3):
        return False
    gain, bias, mean, variance = known
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    with np.errstate(all="ignore"):
        factor = gain / np.sqrt(variance + epsilon)
    seen.scale, seen.shift = seen.scale * factor, (seen.shift - mean) * factor + bias
    seen.normed = True
    return bool(np.isfinite(seen.scale).all() and np.isfinite(seen.shift).all())


def _top(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> float | None:
    """The upper end of a clip or rounding whose lower end is zero; None for any other."""
    ends = [constants.get(name) for name in node.input[1:3]]
    if node.op_type == "Clip":
        given = {a.name: a.f for a in node.attribute}
        low, high = [
            given.get(name) if end is None else float(end.reshape(-1)[0])
            for name, end in zip(("min", "max"), [*ends, None, None][:2], strict=True)
        ]
        return high if low is not None and abs(low) < 1e-3 and high is not None else None
    if node.op_type != "QuantizeLinear" or not ends or ends[0] is None or ends[0].size != 1:
        return None
    zero = ends[1] if len(ends) > 1 else np.zeros(1, np.uint8)
    if zero is None or zero.size != 1 or zero.dtype.kind not in "iu":
        return None
    bounds, none = np.iinfo(zero.dtype), int(zero.reshape(-1)[0])
    if none != bounds.min:
        return None
    return float(ends[0].reshape(-1)[0]) * (bounds.max - bounds.min)


def _scale(
    seen: _Seen,
    node: onnx.NodeProto,
    name: str,
    axes: list[int],
    constants: Mapping[str, NDArray[Any]],
) -> bool:
    """Take a constant sum or product in; False where it is something else."""
    other = node.input[1] if node.input[0] == name else node.input[0]
    value = constants.get(other)
    if value is None or other == name:
        return False
    if value.size == 1:
        by_channel = np.full(3, float(value.reshape(-1)[0]))
    else:
        full = (1,) * (4 - value.ndim) + value.shape
        if value.size != _CHANNELS or len(full) != 4 or axes[full.index(3)] not in (1, 3):
            return False
        by_channel = value.reshape(3).astype(np.float64)
    first = node.input[0] == name
    with np.errstate(all="ignore"):
        if node.op_type == "Mul":
            seen.scale, seen.shift = seen.scale * by_channel, seen.shift * by_channel
        elif node.op_type == "Div" and first:
            seen.scale, seen.shift = seen.scale / by_channel, seen.shift / by_channel
        elif node.op_type == "Div":
            return False
        else:
            # x + c, x - c, c - x
            sign, added = (1, by_channel) if node.op_type == "Add" else (1, -by_channel)
            if node.op_type == "Sub" and not first:
                sign, added = -1, by_channel
            seen.scale, seen.shift = seen.scale * sign, seen.shift * sign + added
    seen.scaled = True
    return bool(np.isfinite(seen.scale).all() and np.isfinite(seen.shift).all())
