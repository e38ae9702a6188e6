"""An ONNX file as a backbone: its card, its zeros and costs, its own classifier."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.cards import Card
from sparsebench.models.costs import LayerCost, LayerKind
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import Mask, mask_of_arrays, sparsity
from sparsebench.models.onnx_file.graph import OnnxFile
from sparsebench.models.onnx_file.running import (
    Array,
    Begin,
    OwnGraph,
    feed_session,
    part_of,
    session_of,
)
from sparsebench.models.onnx_file.walks import ancestors
from sparsebench.models.onnx_file.weights import (
    WeightedNode,
    constant_values,
    quantized,
    read_weights,
)

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OnnxBackbone:
    """A backbone that is run as its ONNX file stands; there is no PyTorch network of it.

    Attributes:
        card: its facts.
        file: the opened file.
        layers: convolutions and products with weights, the classifier included, in order.
    """

    card: Card
    file: OnnxFile
    layers: tuple[WeightedNode, ...]

    @cached_property
    def mask(self) -> Mask:
        """The non-zero pattern of the layers' weights."""
        return mask_of_layers(self.layers)

    @cached_property
    def sha256(self) -> str:
        """Of the whole graph and its weights, external ones included."""
        return hashlib.sha256(self.file.model.SerializeToString(deterministic=True)).hexdigest()

    @cached_property
    def measured_sparsity(self) -> float:
        """Share of zeros, 0..1, that the weights really have."""
        return sparsity(self.mask)

    @property
    def quantized(self) -> bool:
        """Whether it computes with whole numbers somewhere."""
        return quantized(self.nodes("logits"))

    def nodes(self, output: str) -> list[onnx.NodeProto]:
        """The nodes that compute ``"features"`` or ``"logits"``, in order."""
        return ancestors(self.file.model.graph, self.file.tensors(output))

    @cached_property
    def place(self) -> dict[str, int]:
        """Where it is cut: layers in front of the features and behind them.

        Two files of one architecture are cut at the same place where these are equal, whatever
        their exporters call the tensors.
        """
        held = read_weights(self.file.model.graph, self.nodes("features"), str(self.file.path))
        return {"layers": len(held), "head": len(self.layers) - len(held)}

    def side(self, size: int | None = None) -> int:
        """Side of the input, pixels: the asked one, else the card's.

        Raises:
            SparsebenchError: the file takes images of another size only.
        """
        side = size or self.card.preprocessing.size
        if self.file.side not in (None, side):
            raise SparsebenchError(
                f"'{self.file.path}' takes images of {self.file.side} px, not of {side} px.",
                f"Run it with --size {self.file.side}, as it is.",
            )
        return side

    def costs(self, side: int) -> list[LayerCost]:
        """Multiply-accumulates of each layer for one image, from the graph's own shapes.

        Raises:
            SparsebenchError: the graph does not take this size.
        """
        shapes = OwnGraph(self.file, [layer.output for layer in self.layers]).shapes(side)
        return [
            _cost(layer, shape, self.file.batch or 1)
            for layer, shape in zip(self.layers, shapes, strict=True)
        ]

    def parts(self, side: int, output: str = "features") -> tuple[Part, ...]:
        """The tensors that make up ``"features"`` or ``"logits"``, as they come for one image.

        Raises:
            SparsebenchError: they do not come one for each image, or are no scores of classes.
        """
        output = output if output == "logits" else "features"  # or boxes, which stand for them
        if (side, output) not in self._parts:
            names = [*self.file.features, self.file.logits or self.file.features[0]]
            arrays = OwnGraph(self.file, names).once(side)
            parts = [self._part(name, array) for name, array in zip(names, arrays, strict=True)]
            if self.file.head is not None and sum(n > 1 for n in parts[-1].tail) > 1:
                raise SparsebenchError(
                    f"'{self.file.path}': its output '{names[-1]}' of shape "
                    f"{list(arrays[-1].shape)} is not a row of scores for each image: the network "
                    "is not a classifier.",
                    "Export its backbone alone, with one row of features for each image.",
                )
            self._parts[side, "features"] = tuple(parts[:-1])
            self._parts[side, "logits"] = (parts[-1],)
        return self._parts[side, output]

    def _part(self, name: str, array: NDArray[Any]) -> Part:
        shape = tuple(array.shape)
        if not shape or shape[0] != (self.file.batch or 1):
            raise SparsebenchError(
                f"'{self.file.path}': its tensor '{name}' of shape {list(shape)} does not hold "
                "one row of features for each image.",
                "The network must keep images apart along its first axis.",
            )
        told = self.file.scale_of(name) if array.dtype.kind in "iu" else None
        if array.dtype.kind != "f" and told is None:
            raise SparsebenchError(
                f"'{self.file.path}': its features '{name}' are {array.dtype}, and nothing tells "
                "the scale that they are rounded by.",
                "Quantize it in QDQ form, where values between the layers are real numbers.",
            )
        convolved = self.file.head is not None and self.file.head.convolution
        planes = name in self.file.features and convolved and len(shape) == 4
        scale = None
        if told is not None:
            step, zero = constant_values(self.file.model.graph, told, str(self.file.path))
            scale = float(step.reshape(-1)[0]), int(zero.reshape(-1)[0])
        return Part(name, shape[1:], array.dtype, scale, planes and shape[2:] != (1, 1))

    def rows(self, images: Array, output: str, *, together: int | None = None) -> Array:
        """Flat float32 features or logits ``[n, D]`` of images, by the whole file.

        Args:
            images: float32 ``[n, 3, H, H]``.
            output: ``"features"`` or ``"logits"``.
            together: images in one call of a file with a free batch size.

        Raises:
            SparsebenchError: ONNX Runtime fails on them.
        """
        parts = self.parts(images.shape[-1], output)
        graph = OwnGraph(self.file, [part.name for part in parts])
        arrays = graph.run(images, together=together)
        flat = [part.flat(array) for part, array in zip(parts, arrays, strict=True)]
        return np.concatenate(flat, 1)

    def classify(self, features: NDArray[np.float32], side: int) -> Array | None:
        """Logits ``[n, C]`` of flat features ``[n, D]``; None where they do not follow from them.

        Args:
            features: float32, of images of ``side`` pixels.
            side: side of the input, pixels.

        Returns:
            None without a classifier, and where it convolves planes whose means are the features.
        """
        parts = self.parts(side)
        if self.file.logits is None or any(part.pooled for part in parts):
            return None
        if parts not in self._heads:
            self._heads[parts] = session_of(_head_model(self.file, parts), self.file.path)
        feeds, start = {}, 0
        for number, part in enumerate(parts):
            columns = features[:, start : start + part.width]
            feeds[f"features_{number}"] = np.ascontiguousarray(columns).reshape(-1, *part.tail)
            start += part.width
        session = self._heads[parts]
        # In the file's own batch size: what it computes may be written for that alone.
        step = self.file.batch or max(1, len(features))
        rows = []
        for begin in range(0, len(features), step):
            piece = {name: array[begin : begin + step] for name, array in feeds.items()}
            count = len(next(iter(piece.values())))
            if count < step:
                piece = {n: np.concatenate([a, np.repeat(a[:1], step - count, 0)])
                         for n, a in piece.items()}  # fmt: skip
            found = feed_session(session, [session.get_outputs()[0].name], piece, self.file.path)
            rows.append(found[0].reshape(step, -1)[:count])
        return np.concatenate(rows).astype(np.float32)

    @cached_property
    def _parts(self) -> dict[tuple[int, str], tuple[Part, ...]]:
        return {}

    @cached_property
    def _heads(self) -> dict[tuple[Part, ...], Any]:
        return {}


@dataclass(frozen=True)
class Part:
    """One tensor of the features or logits.

    Attributes:
        name: in the graph.
        tail: its shape for one image.
        dtype: of its values.
        scale: step and zero point of whole numbers.
        pooled: whether the features are the means of its planes.
    """

    name: str
    tail: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: tuple[float, int] | None
    pooled: bool

    def flat(self, array: NDArray[Any]) -> Array:
        """Values ``[n, *tail]`` as float32 features ``[n, width]``."""
        values = array.astype(np.float32)
        if self.scale is not None:
            values = (values - np.float32(self.scale[1])) * np.float32(self.scale[0])
        if self.pooled:
            values = values.mean((2, 3))
        return values.reshape(len(values), -1)

    @property
    def width(self) -> int:
        """Features that it gives for one image."""
        return self.tail[0] if self.pooled else int(np.prod(self.tail, dtype=np.int64))


def _head_model(file: OnnxFile, parts: tuple[Part, ...]) -> onnx.ModelProto:
    """The classifier alone, from float32 features ``features_0``, ... to float32 logits."""
    import onnx
    from onnx import TensorProto, helper

    assert file.logits is not None
    begins: dict[str, Begin] = {
        part.name: (helper.np_dtype_to_tensor_dtype(part.dtype), ["n", *part.tail])
        for part in parts
    }
    model = part_of(file, [file.logits], begins)
    inputs, before = [], []
    for number, part in enumerate(parts):
        name = f"features_{number}"
        shape: list[str | int | None] = ["n", *part.tail]
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        if part.scale is not None:
            stored = scale_tensors(part, number)
            model.graph.initializer.extend(stored)
            reads = [name, *(tensor.name for tensor in stored)]
            before.append(helper.make_node("QuantizeLinear", reads, [part.name]))
        else:
            kind = helper.np_dtype_to_tensor_dtype(part.dtype)
            before.append(helper.make_node("Cast", [name], [part.name], to=kind))
    nodes = [type(n).FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.input.extend(inputs)
    model.graph.node.extend([*before, *nodes])
    cast = helper.make_node("Cast", [file.logits], ["sparsebench_logits"], to=TensorProto.FLOAT)
    model.graph.node.append(cast)
    model.graph.output.append(onnx.ValueInfoProto(name="sparsebench_logits"))
    return model


def scale_tensors(part: Part, number: int) -> list[onnx.TensorProto]:
    """The step and zero point of a part of whole numbers, as tensors of names of their own."""
    from onnx import numpy_helper

    assert part.scale is not None
    step, zero = np.float32(part.scale[0]), np.asarray(part.scale[1], part.dtype)
    return [
        numpy_helper.from_array(np.asarray(step), f"sparsebench_step_{number}"),
        numpy_helper.from_array(zero, f"sparsebench_zero_{number}"),
    ]


def load_onnx_backbone(card: Card, file: OnnxFile) -> OnnxBackbone:
    """Read the layers of an opened file.

    Raises:
        SparsebenchError: there are none, or their weights cannot be read.
    """
    backbone = OnnxBackbone(card, file, ())
    layers = read_weights(file.model.graph, backbone.nodes("logits"), str(file.path))
    if not layers:
        raise SparsebenchError(
            f"'{file.path}' holds no convolution and no product with weights.",
            "Is it a network for images?",
        )
    if not any(layer.weight.any() for layer in layers):
        raise SparsebenchError(
            f"'{file.path}' holds weights that are all zero.", "Take a trained network."
        )
    return OnnxBackbone(card, file, tuple(layers))


def mask_of_layers(layers: tuple[WeightedNode, ...] | list[WeightedNode]) -> Mask:
    """The non-zero pattern of weights, under the nodes' names."""
    return mask_of_arrays({f"{layer.name}.weight": layer.weight != 0 for layer in layers})


def _cost(layer: WeightedNode, shape: tuple[int, ...], batch: int) -> LayerCost:
    product = "Conv" not in layer.op
    # Each weight is used once at each place of the output, whatever the groups.
    outputs = layer.weight.shape[-2 if product else 0]
    places = int(np.prod(shape, dtype=np.int64)) // max(1, batch * outputs)
    params, nonzeros = layer.weight.size, int(np.count_nonzero(layer.weight))
    kind: LayerKind = "linear" if product else "depthwise" if layer.weight.shape[1] == 1 else "conv"
    return LayerCost(layer.name, kind, params, nonzeros, params * places, nonzeros * places)
