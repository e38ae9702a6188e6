"""The feature maps of a classification network at strides 8, 16 and 32.

The network is traced, and of each stride its last value is taken: in a ResNet the outputs of
``layer2``, ``layer3`` and ``layer4``. Whatever follows the last map (pooling, classifier) is cut
off. Weights keep their names, so that the mask of the checkpoint proves what runs here too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from sparsebench.models.errors import SparsebenchError

STRIDES = (8, 16, 32)
_PLAIN = "Detection takes ResNets and other plain convolutional networks."


def feature_maps(module: nn.Module, size: int, name: str) -> fx.GraphModule:
    """The network up to its last map, returning a map a stride.

    Args:
        module: a classifier in eval mode on the CPU, float32 ``[N, 3, size, size]`` to logits; its
            parameters and buffers are shared.
        size: side of the square input, pixels.
        name: how messages call the network.

    Returns:
        Maps ``[N, C, size / stride, size / stride]``, in the order of :data:`STRIDES`, as a tuple.

    Raises:
        SparsebenchError: the size is no multiple of the largest stride, the network cannot be
            traced, or has no map of one of the strides.
    """
    require_side(size)
    try:
        graph = _WholeLayers().trace(module)
        traced = fx.GraphModule(module, graph)
        with torch.no_grad():
            _Shapes(traced).run(torch.zeros(1, 3, size, size))
    except Exception as error:  # the code of any network may do what cannot be traced
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SparsebenchError(
            f"The feature maps of '{name}' cannot be found: {reason}.", _PLAIN
        ) from error
    found = {stride: _last_of(graph, size // stride) for stride in STRIDES}
    for stride, node in found.items():
        if node is None:
            raise SparsebenchError(
                f"'{name}' has no feature map of stride {stride} at {size} px.", _PLAIN
            )
    return _cut(traced, tuple(node for node in found.values() if node is not None))


def require_side(size: int) -> None:
    """Refuse a side of the input that is no multiple of the largest stride.

    Raises:
        SparsebenchError: it is none.
    """
    most = STRIDES[-1]
    if size % most:
        below = max(most, size // most * most)
        raise SparsebenchError(
            f"Detection takes images whose side is a multiple of {most} px, not {size}.",
            f"Take --size {below} or --size {below + most}.",
        )


def map_channels(maps: nn.Module, size: int) -> tuple[int, ...]:
    """Channels of each map."""
    with torch.no_grad():
        return tuple(int(one.shape[1]) for one in maps(torch.zeros(1, 3, size, size)))


class _WholeLayers(fx.Tracer):
    """Keeps layers whole, so that their weights are found under their names."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.BatchNorm2d) or next(m.children(), None) is None
        return whole or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Notes every value's shape; PyTorch's own ``ShapeProp`` imports SymPy, seconds of it."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["shape"] = getattr(value, "shape", ())
        return value


def _last_of(graph: fx.Graph, side: int) -> fx.Node | None:
    """The last value that is planes of this side."""
    last = None
    for node in graph.nodes:
        shape = node.meta.get("shape", ())
        if node.op.startswith("call") and len(shape) == 4 and tuple(shape[2:]) == (side, side):
            last = node
    return last


def _cut(traced: fx.GraphModule, nodes: tuple[fx.Node, ...]) -> fx.GraphModule:
    graph = traced.graph
    graph.erase_node(next(node for node in graph.nodes if node.op == "output"))
    graph.output(nodes)
    graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    traced.eval()
    return traced
