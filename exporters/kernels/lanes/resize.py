"""ONNX's Resize, as far as detectors need it: planes enlarged by whole factors, pixels repeated."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from sparsebench.exporters.kernels.inference.onnx_nodes import refusal

if TYPE_CHECKING:
    from sparsebench.exporters.kernels.lanes.reader import Attributes, Reader

# With whole factors these ways of placing and rounding repeat each pixel.
_REPEATING = {
    (b"asymmetric", b"floor"),
    (b"half_pixel", b"round_prefer_floor"),
    (b"half_pixel", b"round_prefer_ceil"),
}


def resize(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Read the node as one copy for each pixel of the factor."""
    x = reader.view(node.input[0])
    factors = _factors(reader, node, x.shape)
    place = attributes.get("coordinate_transformation_mode", b"half_pixel")
    how = (place, attributes.get("nearest_mode", b"round_prefer_floor"))
    whole = len(factors) == 4 and factors[:2] == [1, 1] and all(f in range(1, 9) for f in factors)
    if attributes.get("mode", b"nearest") != b"nearest" or not whole or how not in _REPEATING:
        raise refusal(node, "only planes enlarged by whole factors, pixels repeated")
    down, across = (int(f) for f in factors[2:])
    one, channels, height, width = x.shape
    out = reader.new((one, channels, height * down, width * across), x.order)
    for row, column in product(range(down), range(across)):

        def every(array: Any, row: int = row, column: int = column) -> Any:
            return array[:, :, row::down, column::across]

        inner = out.changed(every)
        assert inner is not None
        reader.copied(x, into=inner)
    reader.values[node.output[0]] = out


def _factors(reader: Reader, node: onnx.NodeProto, shape: tuple[int, ...]) -> list[float]:
    if len(node.input) > 3 and node.input[3]:
        wanted = np.asarray(reader.constant(node, 3), float).reshape(-1)
        return [float(n) for n in wanted / np.array(shape)]
    return [float(n) for n in np.asarray(reader.constant(node, 2)).reshape(-1)]
