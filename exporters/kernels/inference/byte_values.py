"""A network in INT8 as steps: which values are bytes, and the layers between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.steps import NormStep, RowsStep, Step
from sparsebench.exporters.kernels.generated.byte_convolution import ByteWeights
from sparsebench.exporters.kernels.inference.onnx_reader import Array, OnnxNetwork
from sparsebench.exporters.kernels.inference.sizes import Size, size_after

Scale = tuple[float, int]  # the step between two bytes, and the byte that means zero


@dataclass
class ByteNetwork(OnnxNetwork):
    """As :class:`OnnxNetwork`, whose sizes and ``layers`` are in vectors of a place.

    A layer's weight is its pattern of fours ``[O, C / 4, kh, kw]``, its geometry counts vectors.

    Attributes:
        weights: layer -> weights and the geometry of channels.
        bytes: value -> its scale; all others are floats.
        channels: numbers of the output.
        image_channels: of the images.
    """

    weights: dict[str, tuple[ByteWeights, Geometry]] = field(default_factory=dict)
    bytes: dict[int, Scale] = field(default_factory=dict)
    channels: int = 0
    image_channels: int = 0

    def size_after(self, step: Step, sizes: Mapping[int, Size]) -> Size:
        """(vectors, height, width); a residual may have other vectors than what it is added to."""
        if isinstance(step, NormStep):
            step = replace(step, residual=None)
        return size_after(step, sizes, self.layers)

    def width(self, sizes: Mapping[int, Size]) -> int:
        """As :meth:`OnnxNetwork.width`."""
        rows = any(isinstance(step, RowsStep) for step in self.steps)
        return self.channels if rows else super().width(sizes)

    def fours_share(self) -> float:
        """Share of the fours of all weights that hold one that is not zero, 0-1."""
        patterns = [pattern for pattern, _, _ in self.layers.values()]
        issued, whole = (sum(int(count(p)) for p in patterns) for count in (np.sum, np.size))
        return issued / max(whole, 1)

    def needs_border(self, value: int) -> bool:
        """Whether the byte that means zero is not 0, so that no tap may be left out."""
        return value in self.bytes and self.bytes[value][1] != 0

    def classify(self, features: Array) -> Array:
        """``[N, vectors]`` through the linear layer, if there is one. Always a copy."""
        return super().classify(features[:, : self.channels])
