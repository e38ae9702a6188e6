"""A user's ``nn.Module`` read as steps, by ``torch.fx``.

The longest prefix of the network that the kernels know becomes steps; what follows (the
classifier, dropout) stays PyTorch. Layers of torchvision and timm are known by their types.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from torch import fx, nn

from sparsebench.exporters.kernels.compiled.steps import IMAGES, Step, fuse, fuse_pools
from sparsebench.exporters.kernels.training.layers import SparseConv2d, SparseLinear
from sparsebench.exporters.kernels.training.reading import Reader, stochastic_depth
from sparsebench.models.errors import SparsebenchError


@dataclass(frozen=True)
class Traced:
    """What the kernels execute, and what is left.

    Attributes:
        steps: of the prefix; none where only linear layers can be sparse.
        outputs: the values that the prefix hands over.
        rest: maps (all of them, the images) to the network's output.
        stopped_at: the operation that the steps end in front of, in words.
    """

    steps: list[Step]
    outputs: tuple[int, ...]
    rest: fx.GraphModule
    stopped_at: str


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            isinstance(m, SparseConv2d | SparseLinear | nn.Linear | nn.Conv2d | nn.BatchNorm2d)
            or type(m).__name__ == "SelectAdaptivePool2d"
            # Whole, so that messages name it and not what is inside.
            or stochastic_depth(m) is not None
            or super().is_leaf_module(m, module_qualified_name)
        )


def trace(module: nn.Module) -> Traced:
    """Read a network in its present mode.

    Raises:
        SparsebenchError: ``torch.fx`` cannot follow it, or it needs more than the images.
    """
    try:
        graph = _Tracer().trace(module, concrete_args=_defaults(module))
    except Exception as error:  # fx raises whatever the user's own forward raises
        raise SparsebenchError(
            f"The network cannot be traced ({type(error).__name__}: {error}).",
            "Its forward must not branch on the values of tensors (see torch.fx).",
        ) from error
    reader = Reader(module)
    nodes = list(graph.nodes)
    stop = next(i for i, node in enumerate(nodes) if not reader.take(node))
    rest = [node for node in nodes[:stop] if node in reader.facts] + nodes[stop:]
    outputs = _handed_over(reader, rest)
    steps = fuse_pools(fuse(reader.steps, *outputs), *outputs) if reader.steps else []
    end = nodes[stop]
    words = "the end of the network" if end.op == "output" else _called(module, end)
    return Traced(steps, outputs, _rest(module, reader, outputs, rest), words)


def _defaults(module: nn.Module) -> dict[str, object]:
    """The arguments of ``forward`` behind the first, which keep their defaults."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        p.name: p.default
        for p in parameters
        if p.kind in kinds
        and (p.default is None or isinstance(p.default, bool | int | float | str))
    }


def _called(module: nn.Module, node: fx.Node) -> str:
    """A node by its name, its type and its options: ``'pool' (AvgPool2d(kernel_size=2, ...))``."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        kind = type(layer).__name__
        return f"'{node.target}' ({kind if list(layer.children()) else repr(layer)})"
    name = getattr(node.target, "__name__", str(node.target))
    options = ", ".join(f"{key}={value}" for key, value in node.kwargs.items())
    return f"'{name}'" + (f" ({options})" if options else "")


def _handed_over(reader: Reader, rest: list[fx.Node]) -> tuple[int, ...]:
    """The values that the rest begins with; besides it may see the images' number."""
    inside = set(rest)
    crossing = {
        value
        for node, value in reader.values.items()
        if value != IMAGES
        and any(user in inside and not reader.asks_for_batch(user) for user in node.users)
    }
    lost = [node for node in reader.ignored if any(user in inside for user in node.users)]
    if lost:
        raise SparsebenchError(
            f"The network's forward needs '{lost[0].target}' besides the images.",
            "Give it a default, or wrap it in a module that takes the images alone.",
        )
    if not crossing:
        reader.steps.clear()
        return (IMAGES,)
    return tuple(sorted(crossing))


def _rest(
    module: nn.Module, reader: Reader, outputs: tuple[int, ...], rest: list[fx.Node]
) -> fx.GraphModule:
    graph = fx.Graph()
    given = {value: graph.placeholder(f"features_{value}") for value in outputs}
    images = graph.placeholder("images")
    copies = {node: given[value] for node, value in reader.values.items() if value in given}
    copies |= {node: images for node, value in reader.values.items() if value == IMAGES}
    for node in rest:
        # Any other value is asked for the number of images alone, which never changes.
        copies[node] = graph.node_copy(node, lambda value: copies.get(value, images))
    return fx.GraphModule(module, graph)
