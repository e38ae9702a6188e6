"""Planes enlarged by whole factors, of lanes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import onnx

from sparsebench.exporters.kernels.inference.enlarging import repeats

if TYPE_CHECKING:
    from sparsebench.exporters.kernels.lanes.reader import Attributes, Reader


def resize(reader: Reader, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Read the node as one copy for each pixel of the factor."""
    x = reader.view(node.input[0])
    given = len(node.input) > 3 and node.input[3]
    sizes = reader.constant(node, 3) if given else None
    scales = None if given else reader.constant(node, 2)
    down, across = repeats(node, attributes, x.shape, scales, sizes)
    one, channels, height, width = x.shape
    out = reader.new((one, channels, height * down, width * across), x.order)
    for row, column in product(range(down), range(across)):

        def every(array: Any, row: int = row, column: int = column) -> Any:
            return array[:, :, row::down, column::across]

        inner = out.changed(every)
        assert inner is not None
        reader.copied(x, into=inner)
    reader.values[node.output[0]] = out
