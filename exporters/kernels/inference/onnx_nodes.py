"""Single nodes of an ONNX graph: which are needed, what they hold, how they are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


class UnsupportedOnnxError(Exception):
    """What the kernels do not have; the message names the operator and the node."""


def refusal(node: onnx.NodeProto, why: str) -> UnsupportedOnnxError:
    """The error for a node that cannot be taken."""
    return UnsupportedOnnxError(f"{node.op_type} '{node.name or node.output[0]}': {why}")


def needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that an output is computed from, in order."""
    wanted, nodes = {output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            nodes.append(node)
            wanted.update(node.input)
    return nodes[::-1]


def constant(node: onnx.NodeProto, attributes: dict[str, Any]) -> Any:
    """The array that a Constant holds: numbers only.

    Raises:
        UnsupportedOnnxError: it holds something else.
    """
    (kind, value), *_ = attributes.items()
    if kind == "value":
        return numpy_helper.to_array(value)
    if kind in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if kind in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise refusal(node, f"the kernels do not read a {kind}")


def window_pads(node: onnx.NodeProto, attributes: dict[str, Any]) -> tuple[int, int, int, int]:
    """(above, left, below, right) of a window that moves over planes.

    Raises:
        UnsupportedOnnxError: they depend on the size of the planes, or take pixels away.
    """
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto == b"VALID":
        return 0, 0, 0, 0
    if auto not in (b"NOTSET", b""):
        raise refusal(node, f"auto_pad {auto.decode()} is not known; only explicit padding is")
    pads = attributes.get("pads", (0, 0, 0, 0))
    if len(pads) != 4 or min(pads) < 0:
        raise refusal(node, f"pads {list(pads)} are not known")
    top, left, below, right = pads
    return top, left, below, right
