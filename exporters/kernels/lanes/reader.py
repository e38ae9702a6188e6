"""An ONNX graph read for one image: every shape is a number, every value a view or a constant.

The first axis of the input is 1, and each number of the graph stands for the same number of
all images. What an operator computes from constants and shapes is computed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from sparsebench.exporters.kernels.inference.onnx_nodes import (
    UnsupportedOnnxError,
    needed,
    refusal,
)
from sparsebench.exporters.kernels.lanes.programs import join_rows
from sparsebench.exporters.kernels.lanes.steps import Instruction, LayerStep, RowStep, Step
from sparsebench.exporters.kernels.lanes.values import View, strides_for

Constant = NDArray[Any]
Attributes = dict[str, Any]


@dataclass
class LaneGraph:
    """What is executed.

    Attributes:
        steps: in order.
        sizes: of each buffer, vectors; the first holds the images, pixel by pixel.
        output: ``[1, D]``.
        made: each buffer as the value that it was made for.
    """

    steps: list[Step]
    sizes: list[int]
    output: View
    made: list[View]

    @property
    def layers(self) -> list[LayerStep]:
        """Its convolutions and linear layers."""
        return [step for step in self.steps if isinstance(step, LayerStep)]


def read_lanes(path: str, input_shape: tuple[int, int, int]) -> LaneGraph:
    """Read a network of any form whose operators are known.

    Args:
        path: of the file.
        input_shape: ``(C, H, W)`` of an image.

    Raises:
        UnsupportedOnnxError: names the operator that is not known, or what of it is not.
        OSError: the file cannot be read.
    """
    model = onnx.load(path)
    reader = Reader(model, input_shape)
    output = model.graph.output[0].name
    for node in needed(model.graph, output):
        reader.take(node)
    return reader.finish(output)


class Reader:
    """Values by name, and the steps so far; operators are in ``operators.py``."""

    def __init__(self, model: onnx.ModelProto, input_shape: tuple[int, int, int]) -> None:
        graph = model.graph
        self.opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self._imports = list(model.opset_import)
        self.values: dict[str, View | Constant] = {
            t.name: numpy_helper.to_array(t) for t in graph.initializer
        }
        images = [i.name for i in graph.input if i.name not in self.values]
        if len(images) != 1:
            raise UnsupportedOnnxError(f"the network has {len(images)} inputs, not one")
        self.steps: list[Step] = []
        self.sizes: list[int] = []
        self.made: list[View] = []
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(o.name for o in graph.output)
        self.padded: dict[str, tuple[int, int, int, int]] = {}
        self.layer_of: dict[str, LayerStep] = {}  # whose output a name is, and nothing else
        self.names: set[str] = set()
        self.values[images[0]] = self.new((1, *input_shape), (0, 2, 3, 1))

    def take(self, node: onnx.NodeProto) -> None:
        """Read a node.

        Raises:
            UnsupportedOnnxError: it is not known.
        """
        from sparsebench.exporters.kernels.lanes.operators import OPERATORS

        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        known = node.domain in ("", "ai.onnx")
        given = [self.values.get(name) for name in node.input if name]
        if any(value is None for value in given):
            raise refusal(node, "an input of it is not computed from the images")
        if known and node.op_type == "Shape":
            shape = np.array(self.values_of(node)[0].shape, np.int64)
            shape = shape[attributes.get("start", 0) : attributes.get("end")]
            self.values[node.output[0]] = shape
            return
        if not any(isinstance(value, View) for value in given):
            self._fold(node)
            return
        if not known or node.op_type not in OPERATORS:
            raise refusal(node, "the kernels do not know this operator")
        try:
            OPERATORS[node.op_type](self, node, attributes)
        except ValueError as error:  # shapes of more than one image, written into the graph
            raise refusal(node, f"its shapes are not those of one image ({error})") from error

    def finish(self, output: str) -> LaneGraph:
        """The network that returns this output, elementwise steps joined.

        Raises:
            UnsupportedOnnxError: the output is not one row of numbers for each image.
        """
        found = self.view(output)
        flat = found.reshaped((1, int(np.prod(found.shape))))
        if flat is None:
            flat = self.copied(found).reshaped((1, int(np.prod(found.shape))))
        assert flat is not None
        return LaneGraph(join_rows(self.steps), self.sizes, flat, self.made)

    def values_of(self, node: onnx.NodeProto) -> list[Any]:
        """The inputs of a node; None for one that is left out."""
        return [self.values[name] if name else None for name in node.input]

    def view(self, name: str) -> View:
        """A computed value; what a Pad put around it is made, constants are copied."""
        value = self.values[name]
        if not isinstance(value, View):
            return self.elementwise("copy", [np.asarray(value, np.float32)])
        if name in self.padded:
            value = self.bordered(value, self.padded.pop(name))
            self.values[name] = value
        return value

    def constant(self, node: onnx.NodeProto, position: int) -> Any:
        """An input that must be known now.

        Raises:
            UnsupportedOnnxError: it is computed from the images.
        """
        value = self.values[node.input[position]]
        if isinstance(value, View):
            raise refusal(node, f"its input '{node.input[position]}' depends on the images")
        return value

    def new(self, shape: Sequence[int], order: Sequence[int] | None = None) -> View:
        """Memory for a value whose axes lie in this order."""
        shape = tuple(int(n) for n in shape)
        self.sizes.append(int(np.prod(shape)))
        strides = strides_for(shape, order or range(len(shape)))
        self.made.append(View(len(self.sizes) - 1, 0, shape, strides))
        return self.made[-1]

    def copied(
        self, view: View, order: Sequence[int] | None = None, into: View | None = None
    ) -> View:
        """The same value in memory of its own, its axes in this order (as they are by default)."""
        out = into or self.new(view.shape, order)
        return self.elementwise("copy", [view], out=out)

    def elementwise(
        self,
        op: str,
        given: Sequence[View | Constant | float],
        numbers: tuple[float, float] = (0.0, 0.0),
        out: View | None = None,
    ) -> View:
        """A step of one operator on broadcast operands."""
        shapes = [np.shape(a) if not isinstance(a, View) else a.shape for a in given]
        shape = np.broadcast_shapes(*shapes, () if out is None else out.shape)
        if out is None:
            full = [a for a in given if isinstance(a, View) and a.shape == shape]
            out = self.new(shape, full[0].order if full else None)
        axis = _row_axis(out)
        arguments = [_argument(a, shape) for a in given]
        self.steps.append(RowStep(shape, axis, [Instruction(op, arguments, out, numbers)]))
        return out

    def reduce(self, op: str, given: View, axis: int) -> View:
        """A reduction of the rows along an axis, kept with size 1."""
        shape = (*given.shape[:axis], 1, *given.shape[axis + 1 :])
        out = self.new(shape, [a for a in given.order if a != axis] + [axis])
        self.steps.append(
            RowStep(given.shape, axis, [Instruction(op, [given.broadcast(given.shape)], out)])
        )
        return out

    def window_alone(self, name: str) -> LayerStep | None:
        """The layer whose output this is, where nothing else reads it and it can take more."""
        layer = self.layer_of.get(name)
        return layer if layer is not None and self.uses[name] == 1 else None

    def move_last(self, layer: LayerStep) -> None:
        """Run a layer after all steps so far; what it waits for is there then."""
        place = next(i for i, step in enumerate(self.steps) if step is layer)
        self.steps.append(self.steps.pop(place))

    def _fold(self, node: onnx.NodeProto) -> None:
        try:
            graph = onnx.helper.make_graph(
                [node],
                "constants",
                [_typed(name) for name in dict.fromkeys(node.input) if name],
                [_typed(name) for name in node.output if name],
            )
            feeds = {name: np.asarray(self.values[name]) for name in node.input if name}
            model = onnx.helper.make_model(graph, opset_imports=self._imports)
            made: Any = ReferenceEvaluator(model).run(None, feeds)
        except Exception as error:  # whatever the evaluator says of it
            raise refusal(node, f"it cannot be computed beforehand ({error})") from error
        names = [name for name in node.output if name]
        self.values.update({n: np.asarray(v) for n, v in zip(names, made, strict=True)})

    def bordered(self, view: View, pads: tuple[int, int, int, int]) -> View:
        """A copy with zeros around its planes (above, left, below, right)."""
        top, left, below, right = pads
        one, channels, height, width = view.shape
        out = self.new((one, channels, height + top + below, width + left + right), view.order)
        self.elementwise("copy", [np.zeros((1, 1, 1, 1), np.float32)], out=out)
        inner = out.changed(lambda a: a[:, :, top : top + height, left : left + width])
        assert inner is not None
        self.copied(view, into=inner)
        return out


def _typed(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_empty_tensor_value_info(name)


def _row_axis(out: View) -> int:
    """The axis whose numbers lie side by side; the longest of those that say so."""
    side_by_side = [a for a, stride in enumerate(out.strides) if stride == 1]
    if not side_by_side:
        return max(range(len(out.shape)), key=lambda a: out.shape[a])
    return max(side_by_side, key=lambda a: out.shape[a])


def _argument(given: View | Constant | float, shape: tuple[int, ...]) -> Any:
    if isinstance(given, View):
        return _lifted(given, len(shape)).broadcast(shape)
    array = np.asarray(given, np.float32)
    if array.size == 1:
        return float(array.reshape(()))
    return np.broadcast_to(array, shape)


def _lifted(view: View, rank: int) -> View:
    found = view.reshaped((*[1] * (rank - len(view.shape)), *view.shape))
    assert found is not None
    return found
