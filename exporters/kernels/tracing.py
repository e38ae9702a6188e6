"""A user's ``nn.Module`` read as steps, by ``torch.fx``.

The longest prefix of the network that the kernels know becomes steps; what follows (the
classifier, dropout) stays PyTorch. Layers of torchvision and timm are known by their types.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from exporters.kernels.layers import SparseConv2d, SparseLinear
from exporters.kernels.library import NONE, RELU, RELU6
from exporters.kernels.steps import (
    PICTURES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
    fuse,
)
from models.errors import SparsebenchError

_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_FLATTEN = {torch.flatten, "flatten"}


@dataclass(frozen=True)
class Traced:
    """What the kernels execute, and what is left.

    Attributes:
        steps: of the prefix.
        output: the value that the prefix hands over.
        pooled: whether it is ``[N, C]`` (else ``[N, C, H, W]``).
        rest: maps it to the network's output.
    """

    steps: list[Step]
    output: int
    pooled: bool
    rest: fx.GraphModule


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            isinstance(m, SparseConv2d | SparseLinear | nn.BatchNorm2d | nn.Linear)
            or type(m).__name__ == "SelectAdaptivePool2d"
            or super().is_leaf_module(m, module_qualified_name)
        )


def trace(module: nn.Module) -> Traced:
    """Read a network.

    Raises:
        SparsebenchError: ``torch.fx`` cannot follow it, or nothing of it is known.
    """
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # fx raises whatever the user's own forward raises
        raise SparsebenchError(
            f"The network cannot be traced ({type(error).__name__}: {error}).",
            "Its forward must not branch on the values of tensors (see torch.fx).",
        ) from error
    reader = _Reader(module)
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if not reader.take(node):
            rest = nodes[i:]
            break
    crossing = [node for node in reader.values if any(user in rest for user in node.users)]
    if len(crossing) != 1 or not reader.steps:
        unknown = rest[0]
        raise SparsebenchError(
            f"The kernels do not know '{unknown.target}' and more than one value reaches it.",
            "They know convolutions, batch norm, ReLU, ReLU6, additions, max and mean pooling.",
        )
    (cut,) = crossing
    output = reader.values[cut]
    pooled = any(isinstance(step, MeanStep) and step.out == output for step in reader.steps)
    return Traced(fuse(reader.steps, output), output, pooled, _rest(module, cut, rest))


class _Reader:
    """Turns nodes into steps until one is unknown."""

    def __init__(self, module: nn.Module) -> None:
        self._modules = dict(module.named_modules())
        self.values: dict[fx.Node, int] = {}
        self.steps: list[Step] = []

    def take(self, node: fx.Node) -> bool:
        """Whether the node is known; then its value has a number."""
        if node.op == "placeholder":
            if self.values:
                return False
            self.values[node] = PICTURES
            return True
        inputs = [self.values.get(value) for value in node.all_input_nodes]
        if node.op == "output" or not inputs or None in inputs:
            return False
        ints = [value for value in inputs if value is not None]
        ended = any(isinstance(step, MeanStep) and step.out in ints for step in self.steps)
        if ended and not self._is_flatten(node):
            return False
        if node.op == "call_module":
            return self._module(node, ints[0])
        return self._function(node, ints)

    def _module(self, node: fx.Node, inp: int) -> bool:
        name = str(node.target)
        layer = self._modules[name]
        if isinstance(layer, nn.Identity) or self._is_flatten(node):
            self.values[node] = inp
        elif isinstance(layer, SparseConv2d):
            self._add(node, ConvStep(inp, self._next(), name))
        elif isinstance(layer, nn.BatchNorm2d):
            act = _activation(getattr(layer, "act", None))  # timm's fused layer
            drop = getattr(layer, "drop", None)
            if act is None or not isinstance(drop, nn.Identity | None):
                return False
            self._add(node, NormStep(inp, self._next(), name, act))
        elif isinstance(layer, nn.ReLU | nn.ReLU6):
            self._add(node, ActStep(inp, self._next(), _activation(layer) or NONE))
        elif isinstance(layer, nn.MaxPool2d):
            return self._max_pool(
                node,
                inp,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.ceil_mode,
            )
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            return layer.output_size in (1, (1, 1)) and self._mean(node, inp)
        elif type(layer).__name__ == "SelectAdaptivePool2d":
            return getattr(layer, "pool_type", "") == "avg" and self._mean(node, inp)
        else:
            return False
        return True

    def _function(self, node: fx.Node, inputs: list[int]) -> bool:
        target, args, kwargs = node.target, node.args, node.kwargs
        if target in _ADDITIONS:
            values = [self.values.get(value) for value in args if isinstance(value, fx.Node)]
            if len(values) != 2 or len(args) != 2 or kwargs:
                return False
            self._add(node, ActStep(inputs[0], self._next(), NONE, inputs[-1]))
        elif target in (torch.relu, functional.relu, "relu", "relu_"):
            self._add(node, ActStep(inputs[0], self._next(), RELU))
        elif target is functional.relu6:
            self._add(node, ActStep(inputs[0], self._next(), RELU6))
        elif target is functional.adaptive_avg_pool2d:
            return args[1:] in ((1,), ((1, 1),)) and self._mean(node, inputs[0])
        elif target in (torch.mean, "mean"):
            dims = args[1] if len(args) > 1 else kwargs.get("dim")
            return dims in ((2, 3), [2, 3], (-2, -1), [-2, -1]) and self._mean(node, inputs[0])
        elif self._is_flatten(node):
            self.values[node] = inputs[0]
        else:
            return False
        return True

    def _is_flatten(self, node: fx.Node) -> bool:
        """Flattening of ``[N, C, 1, 1]``, which our mean already has behind it."""
        pooled = {step.out for step in self.steps if isinstance(step, MeanStep)}
        if self.values.get(node.all_input_nodes[0]) not in pooled:
            return False
        if node.op == "call_module":
            return isinstance(self._modules[str(node.target)], nn.Flatten)
        start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim")
        return node.target in _FLATTEN and bool(start == 1)

    def _mean(self, node: fx.Node, inp: int) -> bool:
        # The plain [N, C] stands for [N, C, 1, 1] too, so only a flattening may follow.
        keeps = (
            node.op == "call_module"
            and type(self._modules[str(node.target)]).__name__ != "SelectAdaptivePool2d"
        ) or node.target is functional.adaptive_avg_pool2d
        if keeps:
            for user in node.users:
                is_module = user.op == "call_module"
                flattens = user.target in _FLATTEN or (
                    is_module and isinstance(self._modules[str(user.target)], nn.Flatten)
                )
                if not flattens:
                    return False
        self._add(node, MeanStep(inp, self._next()))
        return True

    def _max_pool(
        self,
        node: fx.Node,
        inp: int,
        kernel: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil: bool,
    ) -> bool:
        sizes = [
            v[0] if isinstance(v, tuple) and len(set(v)) == 1 else v
            for v in (kernel, stride, padding, dilation)
        ]
        if ceil or not all(isinstance(v, int) for v in sizes) or sizes[3] != 1:
            return False
        self._add(node, MaxPoolStep(inp, self._next(), *sizes[:3]))
        return True

    def _next(self) -> int:
        return len(self.steps) + 1

    def _add(self, node: fx.Node, step: Step) -> None:
        self.steps.append(step)
        self.values[node] = step.out


def _activation(layer: nn.Module | None) -> int | None:
    if layer is None or isinstance(layer, nn.Identity):
        return NONE
    if isinstance(layer, nn.ReLU6):
        return RELU6
    return RELU if isinstance(layer, nn.ReLU) else None


def _rest(module: nn.Module, cut: fx.Node, rest: list[fx.Node]) -> fx.GraphModule:
    graph = fx.Graph()
    copies = {cut: graph.placeholder("features")}
    for node in rest:
        copies[node] = graph.node_copy(node, lambda value: copies[value])
    return fx.GraphModule(module, graph)
