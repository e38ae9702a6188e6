"""What an ONNX file's convolutions and matrix products really hold: weights, zeros, masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from models.architectures import prunable_layers
from models.errors import SparsebenchError
from models.masks import Mask


@dataclass(frozen=True)
class WeightedNode:
    """One Conv, Gemm or MatMul node and its constant weight.

    Attributes:
        name: the node's (or initializer's) name.
        op: ONNX operator.
        weight: array in the layout of PyTorch (``[out, in, ...]``).
    """

    name: str
    op: str
    weight: NDArray[np.float32]


def weighted_nodes(path: Path) -> list[WeightedNode]:
    """All nodes with constant weights, in execution order.

    Raises:
        SparsebenchError: the file cannot be read.
    """
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf raises its own classes
        raise SparsebenchError(
            f"{path} cannot be read as ONNX ({type(error).__name__}).", "Is it truncated?"
        ) from error
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        # Exporters share equal tensors through Identity nodes, or keep Constant nodes.
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        elif node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not _transposed(node)):
            weight = np.ascontiguousarray(weight.T)
        found.append(WeightedNode(node.name or node.input[1], node.op_type, weight))
    return found


def onnx_mask(path: Path, module: nn.Module, input_shape: tuple[int, int, int]) -> Mask:
    """The non-zero pattern of an ONNX file under the parameter names of ``module``.

    Batch-norm folding renames the initializers, so nodes and layers are paired by order
    of execution, and every pair must agree in shape.

    Args:
        path: file exported from ``module``.
        module: network in eval mode, mapping ``[N, 3, H, W]`` to ``[N, D]``.
        input_shape: ``(3, H, W)``.

    Raises:
        SparsebenchError: the file does not contain the module's layers.
    """
    order = _execution_order(module, input_shape)
    nodes = weighted_nodes(path)
    if len(order) != len(nodes):
        raise SparsebenchError(
            f"{path} has {len(nodes)} weighted nodes, the network {len(order)} layers.",
            "Export it again from this network.",
        )
    mask = {}
    for (name, shape), node in zip(order, nodes, strict=True):
        if tuple(node.weight.shape) != shape:
            raise SparsebenchError(
                f"{path}: node {node.name} has shape {node.weight.shape}, "
                f"layer {name} has {shape}.",
                "Export it again from this network.",
            )
        mask[f"{name}.weight"] = torch.from_numpy(node.weight != 0)
    return mask


def refilled(checkpoint: Mask, exported: Mask) -> dict[str, int]:
    """Number of weights that the mask has pruned and the export holds, by layer."""
    counts = {name: int((exported[name] & ~kept).sum()) for name, kept in checkpoint.items()}
    return {name: count for name, count in counts.items() if count}


def _execution_order(
    module: nn.Module, input_shape: tuple[int, int, int]
) -> list[tuple[str, tuple[int, ...]]]:
    """Names and weight shapes of the prunable layers in the order they run."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(name: str, layer: nn.Conv2d | nn.Linear) -> None:
        seen.append((name, tuple(layer.weight.shape)))

    handles = [
        layer.register_forward_hook(lambda *_, name=name, layer=layer: note(name, layer))
        for name, layer in prunable_layers(module).items()
    ]
    try:
        with torch.inference_mode():
            module.eval()(torch.zeros(1, *input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i == 1 for a in node.attribute)
