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
from sparsebench.models.onnx_file.graph import OnnxFile, ancestors
from sparsebench.models.onnx_file.running import Array, OwnGraph, part_of, run_session, session_of
from sparsebench.models.onnx_file.weights import WeightedNode, quantized, read_weights

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
        return ancestors(self.file.model.graph, self.tensor(output))

    def tensor(self, output: str) -> str:
        """Name of the tensor with ``"features"`` or ``"logits"``; the same without classifier."""
        logits = self.file.logits if output == "logits" else None
        return logits or self.file.features

    def side(self, size: int | None = None) -> int:
        """Side of the input, pixels: the asked one, else the card's.

        Raises:
            SparsebenchError: the file takes pictures of another size only.
        """
        side = size or self.card.preprocessing.size
        if self.file.side not in (None, side):
            raise SparsebenchError(
                f"'{self.file.path}' takes pictures of {self.file.side} px, not of {side} px.",
                f"Run it with --size {self.file.side}, as it is.",
            )
        return side

    def costs(self, side: int) -> list[LayerCost]:
        """Multiply-accumulates of each layer for one picture, from the graph's own shapes.

        Raises:
            SparsebenchError: the graph does not take this size.
        """
        shapes = OwnGraph(self.file, [layer.output for layer in self.layers]).shapes(side)
        return [
            _cost(layer, shape, self.file.batch or 1)
            for layer, shape in zip(self.layers, shapes, strict=True)
        ]

    def feature_shape(self, side: int) -> tuple[int, ...]:
        """Shape of one picture's features, before they are made flat.

        Raises:
            SparsebenchError: they do not come one for each picture.
        """
        if side not in self._tails:
            shape = OwnGraph(self.file, [self.file.features]).shapes(side)[0]
            if not shape or shape[0] != (self.file.batch or 1):
                raise SparsebenchError(
                    f"'{self.file.path}': its tensor '{self.file.features}' of shape "
                    f"{list(shape)} does not hold one row of features for each picture.",
                    "The network must keep pictures apart along its first axis.",
                )
            self._tails[side] = shape[1:]
        return self._tails[side]

    def classify(self, features: NDArray[np.float32], side: int) -> Array | None:
        """Logits ``[n, C]`` of flat features ``[n, D]``; None without a classifier.

        Args:
            features: float32, of pictures of ``side`` pixels.
            side: side of the input, pixels.
        """
        if self.file.logits is None:
            return None
        tail = self.feature_shape(side)
        if tail not in self._heads:
            head = part_of(self.file, self.file.logits, self.file.features, ["n", *tail])
            self._heads[tail] = session_of(head, self.file.path)
        rows = np.ascontiguousarray(features.reshape(len(features), *tail))
        found = run_session(self._heads[tail], [self.file.logits], rows, self.file.path)[0]
        return found.reshape(len(features), -1).astype(np.float32)

    @cached_property
    def _tails(self) -> dict[int, tuple[int, ...]]:
        return {}

    @cached_property
    def _heads(self) -> dict[tuple[int, ...], Any]:
        return {}


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
            "Is it a network for pictures?",
        )
    return OnnxBackbone(card, file, tuple(layers))


def mask_of_layers(layers: tuple[WeightedNode, ...] | list[WeightedNode]) -> Mask:
    """The non-zero pattern of weights, under the nodes' names."""
    return mask_of_arrays({f"{layer.name}.weight": layer.weight != 0 for layer in layers})


def _cost(layer: WeightedNode, shape: tuple[int, ...], batch: int) -> LayerCost:
    product = "Conv" not in layer.op
    # Each weight is used once at each place of the output, whatever the groups.
    places = int(np.prod(shape)) // (batch * (shape[-1] if product else shape[1]))
    params, nonzeros = layer.weight.size, int(np.count_nonzero(layer.weight))
    kind: LayerKind = "linear" if product else "depthwise" if layer.weight.shape[1] == 1 else "conv"
    return LayerCost(layer.name, kind, params, nonzeros, params * places, nonzeros * places)
