"""An ONNX file opened and checked: its input, its classifier, the tensor that holds features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.boxes import OnnxBoxes
from sparsebench.models.onnx_file.head import Head, find_head, gives_indices
from sparsebench.models.onnx_file.input import Three, read_input
from sparsebench.models.onnx_file.structure import checked, load_model
from sparsebench.models.onnx_file.walks import constant_names, consumers, producers

if TYPE_CHECKING:
    import onnx

# Products in whole numbers tell the scale and zero point of what they read beside it.
_TELLS_SCALE = ("QLinearMatMul", "QLinearConv", "QGemm")


@dataclass(frozen=True)
class OnnxFile:
    """A network for images in an ONNX file.

    Attributes:
        path: of the file.
        model: the graph with its weights, external ones included.
        images: name of its only input, float32 ``[N, 3, H, W]``.
        batch: N where the file fixes it, else None.
        side: H and W in pixels where the file fixes them, else None.
        output: name of the graph's output that is looked at.
        head: its classifier; None where the output is the features.
        own_scaling: (mean, std) of 0..1 images where the graph scales its input itself.
        boxes: the outputs that are looked at instead, where it is run as a detector.
    """

    path: Path
    model: onnx.ModelProto
    images: str
    batch: int | None
    side: int | None
    output: str
    head: Head | None
    own_scaling: tuple[Three, Three] | None = None
    boxes: OnnxBoxes | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The tensors that the classifier reads, one as a rule; the output without one."""
        if self.boxes is not None:
            return self.boxes.tensors
        return self.head.reads if self.head else (self.output,)

    @property
    def logits(self) -> str | None:
        """The classifier's output in front of a softmax; None without a classifier."""
        return self.head.logits if self.head else None

    def tensors(self, output: str) -> tuple[str, ...]:
        """The tensors of ``"features"`` or ``"logits"``; the same without a classifier."""
        logits = self.logits if output == "logits" else None
        return (logits,) if logits else self.features

    def scale_of(self, tensor: str) -> tuple[str, str] | None:
        """Names of the scale and zero point of a tensor of whole numbers, where they are told."""
        constants = constant_names(self.model.graph)
        for node in consumers(self.model.graph).get(tensor, []):
            told = node.op_type in (*_TELLS_SCALE, "DequantizeLinear") and node.input[0] == tensor
            if told and constants.issuperset(node.input[1:3]) and len(node.input) > 2:
                return str(node.input[1]), str(node.input[2])
        made = producers(self.model.graph).get(tensor)
        if made is not None and made.op_type in ("Flatten", "Identity", "Reshape", "Squeeze"):
            return None if tensor == made.input[0] else self.scale_of(str(made.input[0]))
        return None


def open_onnx(path: Path) -> OnnxFile:
    """Open an image classifier or feature extractor.

    Of several outputs the first that a classifier stands in front of is taken, or else the
    first; those of places or labels are passed over.

    Raises:
        SparsebenchError: the file cannot be read, takes something else than images, is left in
            training mode, or gives nothing but places or labels.
    """
    model = checked(path, load_model(path))
    graph = model.graph
    images = read_input(path, graph)
    indices = {output.name: gives_indices(graph, output) for output in graph.output}
    outputs = [name for name, by in indices.items() if by is None]
    if not outputs:
        name, by = next(iter(indices.items()))
        raise SparsebenchError(
            f"'{path}': its output '{name}' holds places or labels ({by}), no value for each "
            "class.",
            "Export the network without its last step.",
        )
    constants = constant_names(graph)
    found = {name: find_head(graph, name, images.name, constants) for name in outputs}
    output = next((name for name, head in found.items() if head is not None), outputs[0])
    return OnnxFile(
        path,
        model,
        images.name,
        images.batch,
        images.side,
        output,
        found[output],
        images.own_scaling,
    )
