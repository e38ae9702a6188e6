"""Where a graph's classifier begins: in front of the last products with constant weights.

The classifier is what lies behind them, whatever it is: a bias, rescaling, clipping, slices, a
softmax, rounding to whole numbers, a mean over several heads. A product does not belong to one
where the images reach the output around it (a residual connection, a gate): then the graph ends
in its features, and has no classifier. Convolutions are classifiers on planes of one pixel, or
where nothing non-linear stands behind them, or where they have as many outputs as a published
data set has classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sparsebench.models.onnx_file.walks import (
    ancestors,
    constant_names,
    consumers,
    producers,
    small_constants,
)

if TYPE_CHECKING:
    import onnx

# Operator -> position of its weight (the other operand where that is computed).
PRODUCTS: Mapping[str, int] = {
    "Gemm": 1,
    "MatMul": 1,
    "FusedGemm": 1,
    "FusedMatMul": 1,
    "QLinearMatMul": 3,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QGemm": 3,
}
CONVOLUTIONS: Mapping[str, int] = {
    "Conv": 1,
    "FusedConv": 1,
    "QLinearConv": 3,
    "ConvInteger": 1,
}
# Shapes, and the scales that a tensor is rounded by, are no values of the images.
_SHAPES = {"Shape", "Size"}
_DYNAMIC = "DynamicQuantizeLinear"
_POOLS = {"GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool", "ReduceMean"}
_POINTWISE = {
    "Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Dropout", "Elu", "Gelu",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mul", "PRelu", "QLinearAdd",
    "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QuantizeLinear", "Relu", "Sigmoid",
    "Squeeze", "Tanh", "Unsqueeze", "Reshape", "Flatten", _DYNAMIC,
}  # fmt: skip
_ACTIVATIONS = {
    "Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
    "QLinearLeakyRelu", "QLinearSigmoid", "QuickGelu", "Relu", "Selu", "Softplus", "Softsign",
    "Tanh", "ThresholdedRelu",
}  # fmt: skip
_DECISIONS = {"Softmax", "LogSoftmax", "Sigmoid", "Hardmax", "QLinearSoftmax", "QLinearSigmoid"}
_SHOWN = {"Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze"}
_INDICES = {
    "And", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or", "TopK", "Unique", "Xor",
}  # fmt: skip
# What leaves places and labels what they are, where it reads nothing else of the images.
_RELABELS = {
    *_SHOWN, "Add", "Div", "Expand", "Gather", "Mul", "Neg", "Round", "Slice", "Sub", "Tile",
    "Transpose", "Unsqueeze",
}  # fmt: skip
# ImageNet (also with a background class), its larger sets, JFT: no network has features so wide.
_CLASSES = {1000, 1001, 11221, 18291, 21841, 21843}


@dataclass(frozen=True)
class Head:
    """A classifier.

    Attributes:
        reads: tensors that its products read, in the graph's order.
        products: their nodes' names or outputs.
        logits: its output, in front of a softmax or sigmoid.
        convolution: whether it convolves: its inputs may be planes.
    """

    reads: tuple[str, ...]
    products: tuple[str, ...]
    logits: str
    convolution: bool


def weight_position(node: onnx.NodeProto, constants: set[str]) -> int | None:
    """Which input of a product or convolution is its constant weight; None where none is."""
    position = PRODUCTS.get(node.op_type, CONVOLUTIONS.get(node.op_type))
    if position is None or len(node.input) <= position:
        return None
    if node.input[position] in constants:
        return position
    # A product from the other side: W x instead of x W.
    other = node.op_type in ("MatMul", "Gemm") and node.input[0] in constants
    return 0 if other else None


def gives_indices(graph: onnx.GraphProto, output: onnx.ValueInfoProto) -> str | None:
    """The operator that makes an output one of places, labels or flags; None for values."""
    maker, constants = producers(graph), constant_names(graph)
    node = maker.get(output.name)
    while node is not None:
        if node.op_type in _INDICES:
            return str(node.op_type)
        computed = {name for name in node.input if name and name not in constants}
        if node.op_type not in _RELABELS or len(computed) != 1:
            break
        node = maker.get(computed.pop())
    kind = output.type.tensor_type.elem_type
    return None if kind in (0, 1, 10, 11, 16) else "whole numbers"  # 0: not declared


def find_head(graph: onnx.GraphProto, output: str, images: str, constants: set[str]) -> Head | None:
    """The classifier in front of an output; None where there is none.

    Args:
        graph: nodes in an order that can run.
        output: name of the graph's output.
        images: name of its input.
        constants: tensors that no input changes.
    """
    nodes = [
        n for n in ancestors(graph, [output]) if not constants.issuperset(o for o in n.output if o)
    ]
    weighted = {id(n) for n in nodes if weight_position(n, constants) is not None}
    # From the end: which tensors lead to a product that has none behind it.
    behind: set[str] = set()
    last: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        below = any(name in behind for name in _values(node))
        if id(node) in weighted and not below:
            last.append(node)
        if below or id(node) in weighted:
            behind.update(name for name in node.input if name)
    last.reverse()
    if not last or _reaches(nodes, images, output, {id(node) for node in last}):
        return None
    maker, read = producers(graph), consumers(graph)
    convolutions = [node for node in last if node.op_type in CONVOLUTIONS]
    if any(not _classifies(node, output, constants, maker, read, graph) for node in convolutions):
        return None
    taken = [_float_input(node, constants, maker) for node in last]
    return Head(
        tuple(dict.fromkeys(taken)),
        tuple(node.name or node.output[0] for node in last),
        _logits(output, taken, maker),
        bool(convolutions),
    )


def _values(node: onnx.NodeProto) -> list[str]:
    """Outputs that carry values of the images."""
    if node.op_type in _SHAPES:
        return []
    outputs = list(node.output)[:1] if node.op_type == _DYNAMIC else list(node.output)
    return [name for name in outputs if name]


def _reaches(nodes: list[onnx.NodeProto], begin: str, end: str, without: set[int]) -> bool:
    """Whether values get from one tensor to another around some nodes."""
    reached = {begin}
    for node in nodes:
        if id(node) not in without and any(name in reached for name in node.input):
            reached.update(_values(node))
    return end in reached


def _float_input(
    node: onnx.NodeProto, constants: set[str], maker: Mapping[str, onnx.NodeProto]
) -> str:
    """What a product reads, in front of a rounding to whole numbers where that is a node."""
    position = weight_position(node, constants)
    name = found = str(node.input[1 if position == 0 else 0])
    while (made := maker.get(found)) is not None and made.input:
        if made.op_type in (_DYNAMIC, "QuantizeLinear"):
            return str(made.input[0])
        if made.op_type not in ("Flatten", "Identity", "Reshape", "Squeeze"):
            break
        found = str(made.input[0])
    return name


def _logits(output: str, taken: list[str], maker: Mapping[str, onnx.NodeProto]) -> str:
    """The output, or what a softmax or sigmoid in front of it reads."""
    name = output
    while (node := maker.get(name)) is not None and name not in taken:
        if node.op_type in _DECISIONS:
            # Rounded values would need their scale beside them.
            return output if "QLinear" in node.op_type else str(node.input[0])
        if node.op_type not in _SHOWN or not node.input:
            break
        name = str(node.input[0])
    return output


def _classifies(
    node: onnx.NodeProto,
    output: str,
    constants: set[str],
    maker: Mapping[str, onnx.NodeProto],
    read: Mapping[str, list[onnx.NodeProto]],
    graph: onnx.GraphProto,
) -> bool:
    """Whether a convolution is a classifier; see this file's first lines."""
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    if group != 1:
        return False
    if _of_one_pixel(node.input[0], constants, maker):
        return True
    if _outputs(node, graph, maker) in _CLASSES or _decides(output, maker):
        return True
    if node.op_type == "QLinearConv" and _from_zero(node, graph):
        return False  # a ReLU is the rounding's own lower end
    return not _bends(node, constants, read, small_constants(graph))


def _bends(
    node: onnx.NodeProto,
    constants: set[str],
    read: Mapping[str, list[onnx.NodeProto]],
    small: Mapping[str, NDArray[Any]],
) -> bool:
    """Whether an activation or a second computed operand stands behind a node."""
    seen, waiting = set[str](), [*node.output]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for reader in read.get(name, []):
            if reader.op_type in _SHAPES:
                continue
            computed = [i for i in reader.input if i and i not in constants]
            joins = reader.op_type in ("Add", "Mul", "Concat", "QLinearAdd", "QLinearMul")
            clips = reader.op_type == "Clip" and _lower_end(reader, small) >= 0
            if reader.op_type in _ACTIVATIONS or (joins and len(computed) > 1) or clips:
                return True
            waiting.extend(_values(reader))
    return False


def _lower_end(clip: onnx.NodeProto, small: Mapping[str, NDArray[Any]]) -> float:
    given = next((a.f for a in clip.attribute if a.name == "min"), None)
    if given is None and len(clip.input) > 1 and clip.input[1] in small:
        given = float(small[clip.input[1]].reshape(-1)[0])
    return float("-inf") if given is None else given


def _of_one_pixel(name: str, constants: set[str], maker: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether planes come from a mean over whole planes, or from a product."""
    for _ in range(64):
        node = maker.get(name)
        if node is None:
            return False
        if node.op_type in _POOLS or node.op_type in PRODUCTS:
            return True
        if node.op_type not in _POINTWISE and node.op_type not in CONVOLUTIONS:
            return False
        computed = [i for i in node.input if i and i not in constants]
        if not computed:
            return False
        name = str(computed[0])
    return False


def _decides(output: str, maker: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a softmax or sigmoid is the last thing in front of an output."""
    name = output
    while (node := maker.get(name)) is not None:
        if node.op_type in _DECISIONS:
            return True
        if node.op_type not in _SHOWN or not node.input:
            return False
        name = str(node.input[0])
    return False


def _outputs(
    node: onnx.NodeProto, graph: onnx.GraphProto, maker: Mapping[str, onnx.NodeProto]
) -> int | None:
    name = str(node.input[CONVOLUTIONS[node.op_type]])
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    for _ in range(8):
        if name in shapes:
            return shapes[name][0] if shapes[name] else None
        made = maker.get(name)
        if made is None:
            return None
        if made.op_type == "Constant" and made.attribute and made.attribute[0].HasField("t"):
            dims = list(made.attribute[0].t.dims)
            return dims[0] if dims else None
        if not made.input:
            return None
        name = str(made.input[0])
    return None


def _from_zero(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """Whether the smallest rounded number of a convolution's output stands for zero."""
    from onnx import numpy_helper

    stored = {t.name: t for t in graph.initializer}
    zero = node.input[7] if len(node.input) > 7 else ""
    if zero not in stored:
        return False
    value = numpy_helper.to_array(stored[zero])
    return value.size == 1 and int(value.reshape(-1)[0]) == (-128 if value.dtype.kind == "i" else 0)
