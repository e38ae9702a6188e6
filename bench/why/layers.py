"""An engine's steps brought together with the network's layers, dense beside sparse.

Engines fuse: one step may compute several layers, and the sparse network may be fused
differently from the dense one. So layers are grouped until both sides tell the time of the
same group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from sparsebench.exporters.engines.base import LayerTime
from sparsebench.exporters.onnx.onnx_weights import weighted_nodes

_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
# What engines fuse into the convolution before it, and then name the step after.
_FUSED = ("Relu", "Clip", "BatchNormalization", "Sigmoid", "HardSwish", "HardSigmoid", "LeakyRelu")
_MODULES = ("Conv2d", "Linear")
_OUTSIDE = "Naive Subgraph"


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product of an ONNX file.

    Attributes:
        name: short, for people.
        aliases: names that an engine may give its step: node, output, fused activations.
        sparsity: share of zeros, 0-1.
        weights: how many.
    """

    name: str
    aliases: frozenset[str]
    sparsity: float
    weights: int


@dataclass(frozen=True)
class LayerPair:
    """One layer, or several that an engine runs as one.

    Attributes:
        name: of the layer or layers.
        sparsity: share of zeros over their weights, 0-1.
        dense: seconds of a call with its zeros filled.
        sparse: seconds of a call as it is.
        kind: the engine's word for the sparse step.
        skips: whether that step skips zeros; None where the engine does not tell.
        peak: share of the processor's peak that the sparse steps reach, 0-1; None: not told.
    """

    name: str
    sparsity: float
    dense: float
    sparse: float
    kind: str = ""
    skips: bool | None = None
    peak: float | None = None

    @property
    def speedup(self) -> float:
        """Dense time over sparse time."""
        return self.dense / self.sparse


@dataclass(frozen=True)
class Paired:
    """All of a profile.

    Attributes:
        layers: in the network's order; those that both sides tell the time of.
        rest: seconds of all other steps (dense, sparse).
        outside: of those, what the engine leaves to another executor (sparse side).
    """

    layers: tuple[LayerPair, ...]
    rest: tuple[float, float]
    outside: float


def read_layers(path: Path) -> list[Layer]:
    """The layers of an ONNX file, in the order of execution."""
    graph = onnx.load(str(path)).graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)
    nodes = {node.name or node.input[1]: node for node in graph.node
             if node.op_type in _WITH_WEIGHTS}  # fmt: skip
    found = []
    for one in weighted_nodes(path):
        node = nodes[one.name]
        aliases = {one.name, *node.output}
        value = node.output[0]
        while len(readers.get(value, [])) == 1 and readers[value][0].op_type in _FUSED:
            reader = readers[value][0]
            value = reader.output[0]
            aliases |= {reader.name, value}
        found.append(
            Layer(
                short_name(one.name),
                frozenset(aliases),
                float((one.weight == 0).mean()),
                one.weight.size,
            )
        )
    return found


def short_name(node: str) -> str:
    """``layer1.0.conv1`` of ``/layer1/layer1.0/conv1/Conv``."""
    parts = [part for part in node.split("/") if part]
    if parts and parts[-1].split("_")[0] in _WITH_WEIGHTS and len(parts) > 1:
        parts.pop()
    kept = [
        part
        for index, part in enumerate(parts)
        if index + 1 == len(parts) or not parts[index + 1].startswith(f"{part}.")
    ]
    return ".".join(kept) or node


def pair_layers(
    layers: Sequence[Layer], dense: Sequence[LayerTime], sparse: Sequence[LayerTime]
) -> Paired:
    """Dense beside sparse, layer by layer.

    Args:
        layers: of the sparse network.
        dense: steps of the filled one.
        sparse: steps of the sparse one.
    """
    ours, rest_sparse = _attributed(layers, sparse)
    theirs, rest_dense = _attributed(layers, dense)
    groups = _groups(len(layers), [*ours, *theirs])
    pairs = []
    for group in groups:
        mine = [step for members, step in ours.items() if members <= group]
        other = [step for members, step in theirs.items() if members <= group]
        if not mine or not other:
            continue
        chosen = [layers[index] for index in sorted(group)]
        weights = sum(layer.weights for layer in chosen)
        biggest = max(mine, key=lambda step: step.seconds)
        pairs.append(
            LayerPair(
                name=" + ".join(layer.name for layer in chosen),
                sparsity=sum(layer.sparsity * layer.weights for layer in chosen) / weights,
                dense=sum(step.seconds for step in other),
                sparse=sum(step.seconds for step in mine),
                kind=biggest.kind,
                skips=biggest.sparse,
                peak=_peak(mine),
            )
        )
    outside = sum(step.seconds for step in rest_sparse if step.kind.startswith(_OUTSIDE))
    rest = (sum(s.seconds for s in rest_dense), sum(s.seconds for s in rest_sparse))
    return Paired(tuple(pairs), rest, outside)


def middle(rounds: Sequence[Sequence[LayerTime]]) -> list[LayerTime]:
    """The median time of each step over several profiles of one network."""
    times: dict[tuple[tuple[str, ...], str], list[LayerTime]] = {}
    for one in rounds:
        for step in one:
            times.setdefault((step.values, step.kind), []).append(step)
    return [
        replace(
            steps[0],
            seconds=float(np.median([s.seconds for s in steps])),
            peak=_median([s.peak for s in steps if s.peak is not None]),
        )
        for steps in times.values()
    ]


def _attributed(
    layers: Sequence[Layer], steps: Sequence[LayerTime]
) -> tuple[dict[frozenset[int], LayerTime], list[LayerTime]]:
    """Steps by the layers that they compute, and those that compute none."""
    by_alias = {alias: index for index, layer in enumerate(layers) for alias in layer.aliases}
    modules = [step for step in steps if step.kind in _MODULES]
    by_order: Mapping[int, int] = {}
    if len(modules) == len(layers):  # PyTorch names modules, not values: pair them by order
        by_order = {id(step): index for index, step in enumerate(modules)}
    found: dict[frozenset[int], LayerTime] = {}
    rest = []
    for step in steps:
        members = {index for value in step.values for index in _indices(value, by_alias)}
        if id(step) in by_order:
            members = {by_order[id(step)]}
        if not members:
            rest.append(step)
            continue
        key = frozenset(members)
        if key in found:  # two steps of the same layers: their times add up
            old = found[key]
            kinds = [old.kind] if step.kind in old.kind.split("+") else [old.kind, step.kind]
            step = replace(
                old,
                kind="+".join(kinds),
                seconds=old.seconds + step.seconds,
                peak=_peak([old, step]),
            )
        found[key] = step
    return found, rest


def _peak(steps: Sequence[LayerTime]) -> float | None:
    """Of all steps together: their work over what the peak would do in their time."""
    told = [step.peak * step.seconds for step in steps if step.peak is not None]
    return sum(told) / sum(step.seconds for step in steps) if len(told) == len(steps) else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _indices(value: str, by_alias: Mapping[str, int]) -> list[int]:
    if value in by_alias:
        return [by_alias[value]]
    head = value.rpartition("/")[0]  # OpenVINO: "/conv1/Conv/WithoutBiases"
    return [by_alias[head]] if head in by_alias else []


def _groups(count: int, sets: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """The finest partition that cuts none of the sets, in order."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for members in sets:
        first, *others = sorted(members)
        for other in others:
            a, b = sorted((root(first), root(other)))
            parent[b] = a
    groups: dict[int, set[int]] = {}
    for index in range(count):
        groups.setdefault(root(index), set()).add(index)
    return [frozenset(groups[key]) for key in sorted(groups)]
