"""Nodes of ``torch.fx`` turned into the kernels' steps, one after the other."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
)
from sparsebench.exporters.kernels.training.admission import is_plain
from sparsebench.exporters.kernels.training.layers import SparseConv2d

_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_RELUS = {torch.relu, torch.relu_, functional.relu, functional.relu_, "relu", "relu_"}
_IN_PLACE = {operator.iadd, "add_", "relu_", torch.relu_, functional.relu_}
_MAX_POOLS = {functional.max_pool2d, torch.max_pool2d}
_FLATTEN = {torch.flatten, "flatten"}
_FACTS = {"shape", "ndim", "dtype", "device", "size", "dim"}


class Reader:
    """Turns nodes into steps until one is unknown.

    Attributes:
        values: node -> number of its value.
        steps: in the order of execution.
        facts: nodes that ask for shapes; they are no steps, and stop none.
        ignored: arguments of the forward besides the images, and checks of them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = dict(module.named_modules())
        self.values: dict[fx.Node, int] = {}
        self.steps: list[Step] = []
        self.facts: set[fx.Node] = set()
        self.ignored: set[fx.Node] = set()

    def take(self, node: fx.Node) -> bool:
        """Whether the node is known; then its value has a number."""
        if node.op == "placeholder":
            if self.values:
                self.ignored.add(node)
            else:
                self.values[node] = IMAGES
            return True
        if node.op == "output":
            return False
        used = node.all_input_nodes
        if used and all(value in self.ignored for value in used):
            self.ignored.add(node)
            return True
        if self._is_fact(node):
            self.facts.add(node)
            return True
        inputs = [self.values.get(value) for value in used]
        if not inputs or None in inputs:
            return False
        ints = [value for value in inputs if value is not None]
        ended = any(isinstance(step, MeanStep) and step.out in ints for step in self.steps)
        if ended and not self._is_flatten(node):
            return False
        if node.op == "call_module":
            return self._module(node, ints[0])
        return self._function(node, ints)

    def _is_fact(self, node: fx.Node) -> bool:
        if node.op == "call_function" and node.target is getattr:
            return node.args[1] in _FACTS and node.args[0] in self.values
        if node.op == "call_method" and node.target in _FACTS:
            return node.args[0] in self.values
        used = node.all_input_nodes
        return node.op == "call_function" and bool(used) and all(n in self.facts for n in used)

    def asks_for_batch(self, node: fx.Node) -> bool:
        """Whether the node asks for the number of images, and for nothing else."""
        if node not in self.facts:
            return False
        if node.target == "size" and node.args[1:] == (0,):
            return True
        whole = node.target == "size" or node.args[1:] == ("shape",)
        firsts = all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)
        return whole and firsts

    def _module(self, node: fx.Node, inp: int) -> bool:
        name = str(node.target)
        layer = self._modules[name]
        if isinstance(layer, nn.Identity) or stochastic_depth(layer) == 0 or self._is_flatten(node):
            self.values[node] = inp
        elif isinstance(layer, SparseConv2d):
            self._add(node, ConvStep(inp, self._next(), name))
        elif isinstance(layer, nn.BatchNorm2d):
            act = _activation(getattr(layer, "act", None))  # timm's fused layer
            drop = getattr(layer, "drop", None)
            if act is None or not isinstance(drop, nn.Identity | None) or not is_plain(layer):
                return False
            self._add(node, NormStep(inp, self._next(), name, act))
        elif isinstance(layer, nn.ReLU | nn.ReLU6):
            self._add(node, ActStep(inp, self._next(), _activation(layer) or NONE))
            self._overwrite(inp, layer.inplace)
        elif isinstance(layer, nn.MaxPool2d):
            plain = not layer.return_indices and not layer.ceil_mode
            return plain and self._max_pool(
                node, inp, layer.kernel_size, layer.stride, layer.padding, layer.dilation
            )
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            return layer.output_size in (1, (1, 1)) and self._mean(node, inp, keeps=True)
        elif type(layer).__name__ == "SelectAdaptivePool2d":
            flat = isinstance(getattr(layer, "flatten", None), nn.Flatten)
            return getattr(layer, "pool_type", "") == "avg" and self._mean(
                node, inp, keeps=not flat
            )
        else:
            return False
        return True

    def _function(self, node: fx.Node, inputs: list[int]) -> bool:
        target, args, kwargs = node.target, node.args, node.kwargs
        in_place = target in _IN_PLACE or bool(kwargs.get("inplace")) or args[1:] == (True,)
        if target in _ADDITIONS:
            values = [self.values.get(value) for value in args if isinstance(value, fx.Node)]
            if len(values) != 2 or len(args) != 2 or kwargs:
                return False
            self._add(node, ActStep(inputs[0], self._next(), NONE, inputs[-1]))
        elif target in _RELUS:
            self._add(node, ActStep(inputs[0], self._next(), RELU))
        elif target is functional.relu6:
            self._add(node, ActStep(inputs[0], self._next(), RELU6))
        elif target is functional.adaptive_avg_pool2d:
            return args[1:] in ((1,), ((1, 1),)) and self._mean(node, inputs[0], keeps=True)
        elif target in _MAX_POOLS:
            return self._functional_max_pool(node, inputs[0])
        elif target in (torch.mean, "mean"):
            return self._functional_mean(node, inputs[0])
        elif self._is_flatten(node):
            self.values[node] = inputs[0]
        else:
            return False
        self._overwrite(inputs[0], in_place)
        return True

    def _functional_max_pool(self, node: fx.Node, inp: int) -> bool:
        names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        if len(node.args) > len(names) or given.get("ceil_mode") or given.get("return_indices"):
            return False
        kernel, stride = given["kernel_size"], given.get("stride")
        stride = kernel if stride in (None, [], ()) else stride
        return self._max_pool(
            node, inp, kernel, stride, given.get("padding", 0), given.get("dilation", 1)
        )

    def _functional_mean(self, node: fx.Node, inp: int) -> bool:
        names = ("input", "dim", "keepdim")
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        dims = given.get("dim")
        planes = isinstance(dims, tuple | list) and tuple(dims) in ((2, 3), (-2, -1))
        known = set(given) <= set(names) and len(node.args) <= len(names)
        return planes and known and self._mean(node, inp, keeps=bool(given.get("keepdim")))

    def _is_flatten(self, node: fx.Node) -> bool:
        """Flattening of ``[N, C, 1, 1]``, which our mean already has behind it."""
        pooled = {step.out for step in self.steps if isinstance(step, MeanStep)}
        return self.values.get(node.all_input_nodes[0]) in pooled and self._flattens(node)

    def _flattens(self, node: fx.Node) -> bool:
        """Whether the node makes ``[N, C]`` of ``[N, C, 1, 1]``."""
        if node.op == "call_module":
            layer = self._modules[str(node.target)]
            ends = (getattr(layer, "start_dim", None), getattr(layer, "end_dim", None))
            return isinstance(layer, nn.Flatten) and ends in ((1, -1), (1, 3))
        given = {**dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)), **node.kwargs}
        ends = (given.get("start_dim", 0), given.get("end_dim", -1))
        return node.target in _FLATTEN and ends in ((1, -1), (1, 3))

    def _mean(self, node: fx.Node, inp: int, *, keeps: bool) -> bool:
        # The plain [N, C] stands for [N, C, 1, 1] too, so only a flattening may follow.
        if keeps and not all(self._flattens(user) for user in node.users):
            return False
        self._add(node, MeanStep(inp, self._next()))
        return True

    def _max_pool(
        self, node: fx.Node, inp: int, kernel: Any, stride: Any, padding: Any, dilation: Any
    ) -> bool:
        sizes = [
            v[0] if isinstance(v, tuple | list) and len(set(v)) == 1 else v
            for v in (kernel, stride, padding, dilation)
        ]
        if not all(isinstance(v, int) for v in sizes) or sizes[3] != 1:
            return False
        self._add(node, MaxPoolStep(inp, self._next(), *sizes[:3]))
        return True

    def _next(self) -> int:
        return len(self.steps) + 1

    def _add(self, node: fx.Node, step: Step) -> None:
        self.steps.append(step)
        self.values[node] = step.out

    def _overwrite(self, inp: int, in_place: bool) -> None:
        """After an operation in place its input's name stands for the result."""
        if in_place and inp != IMAGES:
            for node, value in self.values.items():
                if value == inp:
                    self.values[node] = self.steps[-1].out


def _activation(layer: nn.Module | None) -> int | None:
    if layer is None or isinstance(layer, nn.Identity):
        return NONE
    if isinstance(layer, nn.ReLU6):
        return RELU6
    return RELU if isinstance(layer, nn.ReLU) else None


def stochastic_depth(layer: nn.Module) -> float | None:
    """With which probability a layer drops paths in its mode; None of any other layer.

    Layers called DropPath (timm's, and many copies of it) are read as what they compute where they
    drop nothing.
    """
    kind = type(layer)
    if kind.__name__ == "StochasticDepth" and kind.__module__.startswith("torchvision."):
        return float(getattr(layer, "p", 0)) if layer.training else 0.0
    if kind.__name__ == "DropPath" and layer.training:
        return float(getattr(layer, "drop_prob", getattr(layer, "p", None)) or 0) or None
    return None
