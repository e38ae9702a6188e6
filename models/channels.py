"""Channels: which of them are constant and which of them nobody reads, over a network.

A network is traced once (torch.fx). Forwards, each channel of each intermediate value is
found constant (the same number at every pixel of every image, as a filter of zeros
makes it) or varying; backwards, needed or not. Channels that must have one width
together, because they are added or filtered one by one, share an identity.

What the tracer does not know is left alone: its inputs count as needed, its outputs as
varying.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, fx, nn

from sparsebench.models.widths import is_depthwise

# Elementwise: the value of a constant channel is what the module makes of that number.
_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Identity, nn.Dropout, nn.SiLU, nn.Hardswish)
_POOLS = (nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_ELEMENTWISE_CALLS: tuple[Any, ...] = (F.relu, F.relu6, F.hardtanh, torch.relu, F.dropout)
_ADDITIONS: tuple[Any, ...] = (operator.add, operator.iadd, torch.add)
_RESHAPES = ("flatten", "mean", "relu", "relu_", "contiguous")


@dataclass
class Value:
    """An intermediate value ``[N, C, ...]`` and what is known of its C channels.

    Attributes:
        node: the fx node that makes it.
        kind: conv, depthwise, linear, norm, elementwise, same (channels pass through),
            add, cat, or opaque.
        ids: identity of each channel.
        inputs: the values it is made from.
        layer: the module, for conv, depthwise, linear and norm, with its dotted `name`.
        constant: bool [C].
        number: float64 [C], the constants.
        needed: bool [C], whether the network's outputs depend on it.
    """

    node: fx.Node
    kind: str
    ids: list[int]
    inputs: list[Value]
    layer: Any = None
    name: str = ""
    constant: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    number: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    needed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    @property
    def width(self) -> int:
        """C."""
        return len(self.ids)

    @cached_property
    def reads(self) -> Tensor:
        """Bool [out, in]: which filters have a weight for which input channel."""
        weight: Tensor = self.layer.weight.detach()
        return weight.flatten(2).ne(0).any(2) if weight.dim() > 2 else weight != 0

    @cached_property
    def sums(self) -> Tensor:
        """Float64 [out, in]: what a filter makes of ones in an input channel."""
        weight: Tensor = self.layer.weight.detach().double()
        return weight.flatten(2).sum(2) if weight.dim() > 2 else weight

    def weight_changed(self) -> None:
        """Forget what was computed from the layer's weight."""
        self.__dict__.pop("reads", None)
        self.__dict__.pop("sums", None)


@dataclass
class ChannelGraph:
    """All values in the network's order, and the identities that must stay."""

    values: list[Value]
    protected: set[int]

    def readers(self, value: Value) -> list[Value]:
        """The values made from this one."""
        return [other for other in self.values if any(v is value for v in other.inputs)]

    def find_constants(self) -> None:
        """Fill in `constant` and `number` from the layers' present weights."""
        with torch.no_grad():
            for value in self.values:
                value.constant, value.number = _constants(value)

    def find_needs(self) -> None:
        """Fill in `needed`; constants must be known."""
        for value in self.values:
            value.needed = torch.zeros(value.width, dtype=torch.bool)
        for value in reversed(self.values):
            for index, channel in enumerate(value.ids):
                if channel in self.protected:
                    value.needed[index] = True
            for source, need in zip(value.inputs, _needs(value), strict=True):
                source.needed |= need & ~source.constant


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        known = isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        return known or super().is_leaf_module(m, qualified_name)


def trace_channels(module: nn.Module, size: int, kept: str) -> ChannelGraph:
    """Trace a network in eval mode.

    Args:
        module: maps float32 ``[N, 3, size, size]`` to ``[N, D]``; in eval mode.
        size: side of its input, pixels.
        kept: dotted name of the layer whose input channels must all stay (the classifier:
            its inputs are the features that a new head reads).

    Raises:
        Exception: the network cannot be traced (torch.fx's own errors).
    """
    graph = _Tracer().trace(module)
    shapes = _shapes(fx.GraphModule(module, graph), size)
    builder = _Builder(dict(module.named_modules()), shapes, kept)
    for node in graph.nodes:
        builder.add(node)
    return builder.finish()


def padded(layer: nn.Conv2d) -> bool:
    """Whether a convolution mixes zeros of its own into the image's border."""
    if all(k == 1 for k in layer.kernel_size):
        return layer.padding not in ((0, 0), "same", "valid")
    # Subclasses pad on their own account (timm's "SAME").
    return type(layer) is not nn.Conv2d or layer.padding not in ((0, 0), "valid")


def _shapes(traced: fx.GraphModule, size: int) -> dict[fx.Node, tuple[int, ...]]:
    shapes: dict[fx.Node, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                shapes[n] = tuple(result.shape)
            return result

    with torch.no_grad():
        Recorder(traced).run(torch.zeros(1, 3, size, size))
    return shapes


class _Builder:
    """Turns fx nodes into values, one after the other."""

    def __init__(
        self, modules: dict[str, nn.Module], shapes: dict[fx.Node, tuple[int, ...]], kept: str
    ) -> None:
        self.modules, self.shapes, self.kept = modules, shapes, kept
        self.values: dict[fx.Node, Value] = {}
        self.parent: list[int] = []
        self.protected: set[int] = set()
        self.seen: set[str] = set()

    def add(self, node: fx.Node) -> None:
        sources = [self.values[n] for n in node.all_input_nodes if n in self.values]
        if node.op == "output":
            self._protect(sources)
            return
        if node not in self.shapes or len(self.shapes[node]) < 2:
            self._protect(sources)
            return
        kind, layer = self._kind(node, sources)
        width = self.shapes[node][1]
        if kind in ("norm", "elementwise", "same", "depthwise"):
            ids = sources[0].ids
        elif kind == "add":
            for first, second in zip(sources[0].ids, sources[1].ids, strict=True):
                self.parent[self._root(first)] = self._root(second)
            ids = sources[0].ids
        elif kind == "cat":
            ids = [channel for source in sources for channel in source.ids]
        else:
            ids = list(range(len(self.parent), len(self.parent) + width))
            self.parent.extend(ids)
        value = Value(node, kind, list(ids), sources, layer, str(node.target) if layer else "")
        self.values[node] = value
        if kind == "opaque":
            self._protect([*sources, value])
        if value.name == self.kept:
            self._protect(sources)

    def finish(self) -> ChannelGraph:
        for value in self.values.values():
            value.ids = [self._root(channel) for channel in value.ids]
        return ChannelGraph(list(self.values.values()), {self._root(c) for c in self.protected})

    def _kind(self, node: fx.Node, sources: list[Value]) -> tuple[str, Any]:
        opaque = ("opaque", None)
        if not sources:
            return opaque
        same = self.shapes[node][1] == sources[0].width and len(sources) == 1
        if node.op == "call_module":
            if len(self.shapes[sources[0].node]) == 3:
                return opaque  # a layer over sequences: channels stand elsewhere
            return self._module_kind(str(node.target), same)
        if node.op == "call_function":
            function: Callable[..., Any] = node.target  # type: ignore[assignment]
            if function in _ADDITIONS:
                widths = {source.width for source in sources}
                tensors = all(isinstance(argument, fx.Node) for argument in node.args)
                return ("add", None) if tensors and len(sources) == 2 == 1 + len(widths) else opaque
            if function in _ELEMENTWISE_CALLS and same:
                return ("elementwise", None)
            if function in (torch.flatten, F.adaptive_avg_pool2d) and same:
                return ("same", None)
            if function is torch.cat:
                axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
                listed = node.args[0]
                plain = isinstance(listed, list | tuple) and len(listed) == len(sources)
                return ("cat", None) if axis == 1 and plain else opaque
            return opaque
        if node.op == "call_method" and node.target in _RESHAPES and same:
            if node.target == "mean" and tuple(node.args[1]) not in ((2, 3), (-2, -1)):  # type: ignore[arg-type]
                return opaque
            return ("elementwise" if "relu" in str(node.target) else "same", None)
        return opaque

    def _module_kind(self, name: str, same: bool) -> tuple[str, Any]:
        module = self.modules[name]
        if name in self.seen and list(module.parameters()):
            return ("opaque", None)  # one layer in two places
        self.seen.add(name)
        if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
            if is_depthwise(module):
                return ("depthwise", module)
            return ("conv", module) if module.groups == 1 else ("opaque", None)
        if isinstance(module, nn.Linear):
            return ("linear", module)
        if isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
            return ("norm", module)
        if same and isinstance(module, _ELEMENTWISE):
            return ("elementwise", module)
        pools = isinstance(module, _POOLS)
        if isinstance(module, nn.AvgPool2d):
            pools = module.padding in (0, (0, 0))
        return (
            ("same", None)
            if same and (pools or isinstance(module, nn.Flatten))
            else (
                "opaque",
                None,
            )
        )

    def _protect(self, values: list[Value]) -> None:
        self.protected.update(channel for value in values for channel in value.ids)

    def _root(self, channel: int) -> int:
        while self.parent[channel] != channel:
            self.parent[channel] = self.parent[self.parent[channel]]
            channel = self.parent[channel]
        return channel


def _constants(value: Value) -> tuple[Tensor, Tensor]:
    """Which channels of a value are constant, and their numbers."""
    varying = torch.zeros(value.width, dtype=torch.bool), torch.zeros(value.width).double()
    if value.kind == "opaque":
        return varying
    first = value.inputs[0]
    if value.kind in ("conv", "depthwise", "linear"):
        return _filtered(value, first)
    if value.kind in ("norm", "elementwise"):
        return first.constant, _applied(value, first.number)
    if value.kind == "add":
        second = value.inputs[1]
        return first.constant & second.constant, first.number + second.number
    if value.kind == "cat":
        return (
            torch.cat([source.constant for source in value.inputs]),
            torch.cat([source.number for source in value.inputs]),
        )
    return first.constant, first.number


def _filtered(value: Value, source: Value) -> tuple[Tensor, Tensor]:
    layer = value.layer
    bias = torch.zeros(value.width).double() if layer.bias is None else layer.bias.detach().double()
    number = torch.where(source.constant, source.number, 0.0)
    troubles = ~source.constant
    if isinstance(layer, nn.Conv2d) and padded(layer):
        troubles = troubles | (number != 0)
    if value.kind == "depthwise":
        return ~(troubles & value.reads[:, 0]), bias + number * value.sums[:, 0]
    return ~(value.reads & troubles).any(1), bias + value.sums @ number


def _applied(value: Value, number: Tensor) -> Tensor:
    """What an elementwise module, or batch norm in eval mode, makes of constants [C]."""
    if value.kind == "norm":
        # In float64 by hand; a subclass may have an activation behind it (timm).
        norm = value.layer
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        number = (number - norm.running_mean.double()) * scale + norm.bias.double()
        act = getattr(norm, "act", None)
        return act(number) if act is not None else number
    if value.layer is not None:
        applied: Tensor = value.layer(number.clone())
        return applied
    node = value.node
    if node.op == "call_method":
        return number.relu()
    arguments = [number.clone() if a is node.args[0] else a for a in node.args]
    result: Tensor = node.target(*arguments, **node.kwargs)  # type: ignore[operator]
    return result


def _needs(value: Value) -> list[Tensor]:
    """For each input of a value, which of its channels the value's needed ones read."""
    live = value.needed & ~value.constant
    if value.kind == "opaque":
        return [torch.ones(source.width, dtype=torch.bool) for source in value.inputs]
    if value.kind in ("conv", "linear"):
        return [value.reads[live].any(0)]
    if value.kind == "depthwise":
        return [live & value.reads[:, 0]]
    if value.kind == "cat":
        widths = [source.width for source in value.inputs]
        return list(torch.split(live, widths))
    return [live for _ in value.inputs]
