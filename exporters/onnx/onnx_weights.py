"""What an ONNX file's convolutions and matrix products really hold: weights, zeros, masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

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
    of execution, and every pair must agree in shape. Products with other constants (relative
    positions) are left out.

    Args:
        path: file exported from ``module``.
        module: network in eval mode, mapping ``[N, 3, H, W]`` to ``[N, D]``.
        input_shape: ``(3, H, W)``.

    Raises:
        SparsebenchError: the file does not contain the module's layers.
    """
    order = _execution_order(module, input_shape)
    nodes = iter(weighted_nodes(path))
    mask = {}
    for name, shape in order:
        node = next((one for one in nodes if tuple(one.weight.shape) == shape), None)
        if node is None:
            raise SparsebenchError(
                f"{path} lacks a weight of shape {shape}, layer {name}, in its order.",
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
    """Names and weight shapes of the prunable layers in the order their weights are used."""
    layers = prunable_layers(module)
    used = _Used({layer.weight: name for name, layer in layers.items()})

    def note(name: str, layer: nn.Conv2d | nn.Linear) -> None:
        if used.order[-1:] != [(name, tuple(layer.weight.shape))]:  # a weight computed from its own
            used.order.append((name, tuple(layer.weight.shape)))

    handles = [
        layer.register_forward_hook(lambda *_, name=name, layer=layer: note(name, layer))
        for name, layer in layers.items()
    ]
    try:
        with torch.inference_mode(), used:
            module.eval()(torch.zeros(1, *input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return used.order


class _Used(TorchFunctionMode):
    """Notes which weights are convolved or multiplied with, whether or not by their layer.

    Args:
        names: weight -> name of its layer. Beit's attention, say, hands its layer's weight to
            ``linear`` together with a bias of its own.
    """

    def __init__(self, names: Mapping[Tensor, str]) -> None:
        super().__init__()
        self._names = names
        self.order: list[tuple[str, tuple[int, ...]]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """As PyTorch calls it for every function."""
        given = kwargs or {}
        if func in (functional.linear, functional.conv2d):
            weight = args[1] if len(args) > 1 else given["weight"]
            if isinstance(weight, nn.Parameter) and weight in self._names:
                self.order.append((self._names[weight], tuple(weight.shape)))
        return func(*args, **given)
