"""Which channels of a network live and die together.

The output channels of a convolution are read by the next ones, and a residual addition makes
all convolutions that write to it share their channels. Followed through the traced graph,
this gives groups: channel c of a group is a row of every convolution that produces it, a
column of every layer that reads it, and an entry of the batch norms in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from sparsebench.models.errors import SparsebenchError


@dataclass
class ChannelGroup:
    """Channels that can only be removed together.

    Attributes:
        size: number of channels.
        producers: convolutions whose output channels these are.
        depthwise: depthwise convolutions that keep them apart.
        consumers: layers that read them.
        norms: batch norms on the way.
        fixed: the image, the logits, or something that was not understood.
    """

    size: int
    producers: list[str] = field(default_factory=list)
    depthwise: list[str] = field(default_factory=list)
    consumers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    fixed: bool = False


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Subclasses of the layers that are distinguished are not looked into."""
        known = isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        return known or not any(True for _ in m.children()) or super().is_leaf_module(m, "")


class _Groups:
    """Groups under construction, merged where two turn out to be one."""

    def __init__(self) -> None:
        self.groups: list[ChannelGroup] = []
        self._parent: list[int] = []

    def new(self, size: int, fixed: bool = False) -> int:
        self.groups.append(ChannelGroup(size, fixed=fixed))
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def find(self, index: int) -> int:
        while self._parent[index] != index:
            index = self._parent[index]
        return index

    def at(self, index: int) -> ChannelGroup:
        return self.groups[self.find(index)]

    def merge(self, a: int, b: int) -> int:
        a, b = self.find(a), self.find(b)
        if a == b:
            return a
        one, two = self.groups[a], self.groups[b]
        if one.size != two.size:  # broadcasting: not understood
            one.fixed = two.fixed = True
            return a
        for name in ("producers", "depthwise", "consumers", "norms"):
            getattr(one, name).extend(getattr(two, name))
        one.fixed = one.fixed or two.fixed
        self._parent[b] = a
        return a

    def roots(self) -> list[ChannelGroup]:
        return [g for i, g in enumerate(self.groups) if self._parent[i] == i]


def channel_groups(module: nn.Module) -> list[ChannelGroup]:
    """All groups of a network, those that cannot be pruned included.

    Raises:
        SparsebenchError: the network's forward pass cannot be traced.
    """
    try:
        graph = _Tracer().trace(module)
    except Exception as error:
        raise SparsebenchError(
            f"The channels of this architecture cannot be followed ({error}).",
            "Structured pruning needs a network that torch.fx can trace.",
        ) from error
    layers = dict(module.named_modules())
    groups = _Groups()
    of: dict[fx.Node, int] = {}
    for node in graph.nodes:
        inputs = [of[n] for n in node.all_input_nodes if n in of]
        if node.op == "placeholder":
            of[node] = groups.new(0, fixed=True)
        elif node.op == "output":
            for index in inputs:
                groups.at(index).fixed = True
        elif inputs:
            layer = layers[str(node.target)] if node.op == "call_module" else None
            of[node] = _follow(groups, inputs, str(node.target), layer, node.target)
    return [g for g in groups.roots() if g.size > 0]


def _follow(
    groups: _Groups, inputs: list[int], name: str, layer: nn.Module | None, target: Any
) -> int:
    source = inputs[0]
    if isinstance(layer, nn.Conv2d):
        if layer.groups == 1:
            groups.at(source).consumers.append(name)
        elif layer.groups == layer.in_channels == layer.out_channels:
            groups.at(source).depthwise.append(name)
            return source
        else:
            groups.at(source).fixed = True
            return groups.new(layer.out_channels, fixed=True)
        made = groups.new(layer.out_channels)
        groups.at(made).producers.append(name)
        return made
    if isinstance(layer, nn.Linear):
        # Flattened images larger than one pixel would spread a channel over columns.
        if groups.at(source).size == layer.in_features:
            groups.at(source).consumers.append(name)
        else:
            groups.at(source).fixed = True
        return groups.new(layer.out_features, fixed=True)
    if isinstance(layer, nn.BatchNorm2d):
        groups.at(source).norms.append(name)
        return source
    if target in (torch.cat, torch.concat):
        for index in inputs:
            groups.at(index).fixed = True
        return groups.new(-1, fixed=True)
    for other in inputs[1:]:
        source = groups.merge(source, other)
    return source
