"""An ONNX file opened and checked: its input, its classifier, the tensor that holds features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    import onnx

PRODUCTS = ("Gemm", "MatMul")
# What may stand between a classifier and the output without making it another network.
_BEHIND_CLASSIFIER = {
    "Cast",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "LogSoftmax",
    "QuantizeLinear",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
}
_WANTED = "Wanted is one float32 input [N, 3, H, W]."


@dataclass(frozen=True)
class OnnxFile:
    """A network for pictures in an ONNX file.

    Attributes:
        path: of the file.
        model: the graph with its weights, external ones included.
        images: name of its only input, float32 ``[N, 3, H, W]``.
        batch: N where the file fixes it, else None.
        side: H and W in pixels where the file fixes them, else None.
        features: name of the tensor that the classifier reads; the output without one.
        logits: name of the classifier's output, its bias added; None without a classifier.
    """

    path: Path
    model: onnx.ModelProto
    images: str
    batch: int | None
    side: int | None
    features: str
    logits: str | None


def open_onnx(path: Path) -> OnnxFile:
    """Open an image classifier or feature extractor.

    The classifier is the last product with constant weights in front of an output, with
    nothing but its bias, a softmax and reshaping between them.

    Raises:
        SparsebenchError: the file cannot be read, or takes something else than pictures.
    """
    model = load_model(path)
    graph = model.graph
    if not graph.node or not graph.output:
        raise SparsebenchError(f"'{path}' holds no network.", "Is it truncated?")
    if graph.sparse_initializer:
        raise SparsebenchError(
            f"'{path}' stores weights as sparse initializers, which engines do not read.",
            "Write them as plain tensors with zeros.",
        )
    images, batch, side = _input(path, graph)
    constants = constant_names(graph)
    for output in graph.output:
        found = _classifier(graph, output.name, constants)
        if found is not None:
            return OnnxFile(path, model, images, batch, side, *found)
    return OnnxFile(path, model, images, batch, side, graph.output[0].name, None)


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external weights.

    Raises:
        SparsebenchError: it is missing, damaged or no ONNX file.
    """
    import onnx

    if not path.is_file():
        raise SparsebenchError(f"There is no ONNX file '{path}'.", "Check the path.")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf and the reader of external data raise their own
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise SparsebenchError(
            f"'{path}' cannot be read as ONNX ({type(error).__name__}: {said}).",
            "Is it truncated, or a part of it missing?",
        ) from None


def constant_names(graph: onnx.GraphProto) -> set[str]:
    """Tensors that no input changes: stored ones, and what is computed from them alone."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        read = [name for name in node.input if name]
        if node.op_type == "Constant" or (read and names.issuperset(read)):
            names.update(node.output)
    return names


def ancestors(graph: onnx.GraphProto, end: str, begin: str | None = None) -> list[onnx.NodeProto]:
    """The nodes that a tensor is computed by, in order; none in front of ``begin``."""
    needed, found = {end}, []
    for node in reversed(graph.node):
        if begin in node.output:
            continue
        if needed.intersection(node.output):
            found.append(node)
            needed.update(node.input)
    return found[::-1]


def _input(path: Path, graph: onnx.GraphProto) -> tuple[str, int | None, int | None]:
    import onnx

    stored = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise SparsebenchError(f"'{path}' has {len(inputs)} inputs ({names}).", _WANTED)
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise SparsebenchError(f"'{path}' takes {kind}, not float32 pictures.", _WANTED)
    shown = "[" + ", ".join("?" if dim is None else str(dim) for dim in dims) + "]"
    if len(dims) != 4 or dims[1] not in (3, None):
        raise SparsebenchError(f"'{path}' takes {shown}, not pictures.", _WANTED)
    sides = {side for side in dims[2:] if side is not None}
    if len(sides) > 1:
        raise SparsebenchError(f"'{path}' takes {shown}.", "Only square pictures are prepared.")
    return inputs[0].name, dims[0], next(iter(sides), None)


def _classifier(graph: onnx.GraphProto, output: str, constants: set[str]) -> tuple[str, str] | None:
    """What the classifier in front of an output reads and gives, None where there is none."""
    producers = {name: node for node in graph.node for name in node.output}
    logits, name = None, output
    while node := producers.get(name):
        variable = [read for read in node.input if read and read not in constants]
        if len(variable) != 1:
            return None
        if node.op_type in PRODUCTS:
            return variable[0], logits or node.output[0]
        if node.op_type == "Add":
            logits = node.output[0]
        elif node.op_type in _BEHIND_CLASSIFIER:
            logits = None
        else:
            return None
        name = variable[0]
    return None
