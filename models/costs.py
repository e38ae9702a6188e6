"""Costs: parameters, non-zeros, multiply-accumulates of every Conv2d and Linear layer.

One multiply-accumulate (MAC) is what most papers call two FLOPs and some call one; the
ratio of non-zero to dense is the same either way. Biases, batch norm, activations and
pooling are not counted, as in the paper's tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsebench.models.architectures import build, prunable_layers
from sparsebench.models.architectures.shapes import uncomputed
from sparsebench.models.errors import SparsebenchError

LayerKind = Literal["conv", "depthwise", "linear"]


@dataclass(frozen=True)
class LayerCost:
    """One layer at one input size, for one image.

    Args:
        name: dotted name of the layer.
        kind: ``depthwise`` where every group has a single input channel.
        params: weights, without the bias.
        nonzeros: those that are not zero.
        macs: multiply-accumulates of the dense layer.
        nonzero_macs: those with a non-zero weight.
    """

    name: str
    kind: LayerKind
    params: int
    nonzeros: int
    macs: int
    nonzero_macs: int


@dataclass(frozen=True)
class TotalCost:
    """The sums over layers; see :class:`LayerCost`."""

    params: int
    nonzeros: int
    macs: int
    nonzero_macs: int


def count_costs(
    module: nn.Module, input_size: tuple[int, int, int] = (3, 224, 224)
) -> list[LayerCost]:
    """Costs of each layer for one image of the given size, in the network's order.

    The network is run once, in eval mode and without gradients, on its own device; its
    training flags are put back. A layer that is run several times counts each time.

    Args:
        module: whole classifier or feature extractor.
        input_size: (3, H, W), pixels.

    Raises:
        SparsebenchError: the network does not accept this input size.
    """
    layers = prunable_layers(module)
    positions = dict.fromkeys(layers, 0)
    handles = [
        layer.register_forward_hook(_count_positions(positions, name))
        for name, layer in layers.items()
    ]
    modes = {m: m.training for m in module.modules()}
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        module.eval()
        with torch.no_grad():
            module(torch.zeros(1, *input_size, device=device))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise SparsebenchError(
            f"The network does not accept images of {input_size}: {first}",
            "Choose a larger input size.",
        ) from None
    finally:
        for handle in handles:
            handle.remove()
        for part, mode in modes.items():
            part.training = mode
    return [_cost(name, layer, positions[name]) for name, layer in layers.items()]


def total_cost(costs: Sequence[LayerCost]) -> TotalCost:
    """The sums over layers."""
    return TotalCost(
        sum(c.params for c in costs),
        sum(c.nonzeros for c in costs),
        sum(c.macs for c in costs),
        sum(c.nonzero_macs for c in costs),
    )


def flops_ratio(costs: Sequence[LayerCost]) -> float:
    """Non-zero over dense multiply-accumulates, 0..1; 1 where nothing is multiplied."""
    total = total_cost(costs)
    return total.nonzero_macs / total.macs if total.macs else 1.0


def bytes_ratio(costs: Sequence[LayerCost]) -> float:
    """Bytes of the weights in compact form over those of the dense ones; 1 at most.

    Compact: the non-zeros as 32-bit numbers and one bit for each weight that says which they
    are. What an engine that stores zeros reads is 1; what it reads at least is this.
    """
    total = total_cost(costs)
    return min(1.0, (32 * total.nonzeros + total.params) / (32 * max(1, total.params)))


def dense_macs(arch: str, num_classes: int, input_size: tuple[int, int, int]) -> int:
    """Multiply-accumulates of an architecture in its full, dense shape, for one image.

    What a network with removed channels is compared with. Its layers are not computed.

    Raises:
        UnknownNameError: no architecture has this name.
        SparsebenchError: the architecture does not accept this input size.
    """
    return sum(cost.macs for cost in dense_costs(arch, num_classes, input_size))


@lru_cache(maxsize=64)
def dense_costs(
    arch: str, num_classes: int, input_size: tuple[int, int, int]
) -> tuple[LayerCost, ...]:
    """Costs of each layer of an architecture in its full, dense shape; as :func:`dense_macs`."""
    with uncomputed():
        return tuple(count_costs(build(arch, num_classes), input_size))


def _count_positions(positions: dict[str, int], name: str) -> Any:
    """A hook that counts the places where a layer's filters are applied."""

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs = output.shape[1] if isinstance(layer, nn.Conv2d) else output.shape[-1]
        positions[name] += output.numel() // outputs

    return count


def _cost(name: str, layer: nn.Conv2d | nn.Linear, positions: int) -> LayerCost:
    # Each weight is used once at each place: filters do not mix their groups.
    params = math.prod(layer.weight.shape)
    meta = layer.weight.is_meta  # shapes only: nothing to count
    nonzeros = params if meta else int(torch.count_nonzero(layer.weight.detach()))
    return LayerCost(name, _kind(layer), params, nonzeros, params * positions, nonzeros * positions)


def _kind(layer: nn.Conv2d | nn.Linear) -> LayerKind:
    if isinstance(layer, nn.Linear):
        return "linear"
    return "depthwise" if layer.groups > 1 and layer.weight.shape[1] == 1 else "conv"
