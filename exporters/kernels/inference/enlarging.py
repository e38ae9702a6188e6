"""ONNX's Resize, as far as detectors need it: planes enlarged by whole factors, pixels repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from sparsebench.exporters.kernels.inference.onnx_nodes import refusal

# With whole factors these ways of placing and rounding repeat each pixel.
_REPEATING = {
    (b"asymmetric", b"floor"),
    (b"half_pixel", b"round_prefer_floor"),
    (b"half_pixel", b"round_prefer_ceil"),
}


def repeats(
    node: onnx.NodeProto,
    attributes: dict[str, Any],
    shape: Sequence[int],
    scales: Any,
    sizes: Any = None,
) -> tuple[int, int]:
    """How often each pixel is repeated, (down, across).

    Args:
        node: a Resize.
        attributes: of it.
        shape: of what it reads, four axes.
        scales: its third input.
        sizes: its fourth input, which counts instead where there is one.

    Raises:
        UnsupportedOnnxError: it does something else.
    """
    given = np.asarray(scales if sizes is None else sizes, float).reshape(-1)
    factors = [float(n) for n in (given if sizes is None else given / np.array(shape))]
    place = attributes.get("coordinate_transformation_mode", b"half_pixel")
    how = (place, attributes.get("nearest_mode", b"round_prefer_floor"))
    whole = len(factors) == 4 and factors[:2] == [1, 1] and all(f in range(1, 9) for f in factors)
    if attributes.get("mode", b"nearest") != b"nearest" or not whole or how not in _REPEATING:
        raise refusal(node, "only planes enlarged by whole factors, pixels repeated")
    return int(factors[2]), int(factors[3])
