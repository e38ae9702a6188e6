"""What an ONNX file's convolutions and matrix products really hold: weights, zeros, masks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sparsebench.models.architectures import prunable_layers
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import Mask
from sparsebench.models.onnx_file.structure import load_model
from sparsebench.models.onnx_file.weights import WeightedNode, read_weights


def weighted_nodes(path: Path) -> list[WeightedNode]:
    """All Conv, Gemm and MatMul nodes with constant weights, in execution order.

    Raises:
        SparsebenchError: the file or one of its weights cannot be read.
    """
    return [one for one in all_weighted_nodes(path) if one.op in ("Conv", "Gemm", "MatMul")]


def all_weighted_nodes(path: Path) -> list[WeightedNode]:
    """Like :func:`weighted_nodes`, with the operators that compute in whole numbers."""
    graph = load_model(path).graph
    return read_weights(graph, graph.node, str(path))


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
