"""Generated backbones: random weights with exactly the asked sparsity.

They cost as much to run as trained ones and predict nothing. All backbones of an
architecture come from the same random numbers, whose seed is the architecture's name:
within each layer the largest magnitudes stay, so that a sparser backbone's mask lies
inside a less sparse one's of the same method, and inside the dense baseline. Kept weights
are scaled per layer, and batch norm's variances are set, so that activations keep their
size from layer to layer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.models.architectures import (
    build,
    classifier_name,
    find_architecture,
    prunable_layers,
)
from sparsebench.models.blocks import keep_largest_blocks
from sparsebench.models.distributions import Shapes, erk, global_threshold, spared_layers, uniform
from sparsebench.models.errors import UnknownNameError
from sparsebench.models.names import split_block

# Trained networks have larger weights where the fan-in is smaller, but less so than an
# initialisation that scales with fan_in ** -0.5. With this exponent, one threshold over a
# ResNet-50 leaves 0.29 / 0.17 / 0.10 / 0.05 of its multiply-accumulates at 80 / 90 / 95 /
# 98 %; AC/DC's trained networks have about 0.29 / 0.18 / 0.11 / 0.06, WoodFisher's 0.25
# at 80 %. It also keeps every layer alive, which -0.5 does not.
TRAINED_SCALE_EXPONENT = -0.25
_RELU_GAIN = 2.0
_ASLEEP = 1e-2

Distribution = Callable[[Shapes, float], dict[str, int]]
"""(layer name -> weight shape, sparsity) -> layer name -> number of kept weights."""


def uniform_but_spared(shapes: Shapes, sparsity: float) -> dict[str, int]:
    """Uniform sparsity with the first and the depthwise convolutions dense."""
    return uniform(shapes, sparsity, spared_layers(shapes, sparsity))


def global_as_trained(shapes: Shapes, sparsity: float) -> dict[str, int]:
    """What one threshold leaves where layers have the scales of trained networks."""
    scales = {n: math.prod(shape[1:]) ** TRAINED_SCALE_EXPONENT for n, shape in shapes.items()}
    return global_threshold(shapes, sparsity, scales)


GENERATED_METHODS: Mapping[str, Distribution] = {
    "uniform": uniform_but_spared,
    "erk": erk,
    "global": global_as_trained,
}


def generate(arch: str, method: str, sparsity: float, num_classes: int | None = None) -> nn.Module:
    """A random network; the same arguments give the same weights on every machine.

    Zeros over all prunable weights number exactly ``round(sparsity * N)``, in blocks up to a
    block more in each layer; every kept weight differs from zero. Biases and batch norm's means
    are zero.

    Args:
        arch: name of an architecture.
        method: ``dense`` or a key of :data:`GENERATED_METHODS`, which may name blocks:
            ``uniform_block4`` removes four consecutive input channels together.
        sparsity: share of zeros, 0..1.
        num_classes: outputs of the classifier; as many as usual by default.

    Returns:
        The whole classifier in eval mode, float32.

    Raises:
        UnknownNameError: the architecture or method is unknown.
        SparsebenchError: the sparsity lies outside 0..1.
    """
    base, block = split_block(method)
    if method != "dense" and base not in GENERATED_METHODS:
        raise UnknownNameError("method", method, ["dense", *GENERATED_METHODS])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of what is neither a layer's weight nor set below: positions
        module = build(arch, num_classes or find_architecture(arch).classes).eval()
    layers = prunable_layers(module)
    shapes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}
    kept = (
        {name: math.prod(shape) for name, shape in shapes.items()}
        if method == "dense"
        else GENERATED_METHODS[base](shapes, sparsity)
    )
    with torch.no_grad():
        for name, layer in layers.items():
            gain = 1.0 if _last(name, classifier_name(arch)) else _RELU_GAIN
            weight = random_weight(f"{arch}/{name}", shapes[name], kept[name], gain, block)
            layer.weight.copy_(torch.from_numpy(weight))
            if layer.bias is not None:
                layer.bias.zero_()
        wake_branches(module)
    settle_batch_norm(module, find_architecture(arch).preprocessing.size)
    return module


def _last(layer: str, classifier: str) -> bool:
    """Whether nothing non-linear follows a layer: the classifier, or a part of what predicts."""
    return layer == classifier or layer.startswith(f"{classifier}.")


def wake_branches(module: nn.Module) -> None:
    """Scales that begin at (nearly) nothing become 1, else whole branches would compute nothing.

    Some libraries begin with zeros in a block's last batch norm, or with layer scales of 1e-6.
    """
    layers = {f"{name}.weight" for name in prunable_layers(module)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = name not in layers and not name.endswith("bias")
            if scale and float(parameter.abs().max()) < _ASLEEP:
                parameter.fill_(1.0)


def settle_batch_norm(module: nn.Module, size: int) -> None:
    """Give each batch norm a variance that keeps activations near unit size.

    One image of noise runs through the network; a batch norm's variance becomes the
    power of two nearest to the mean square of what arrives. The rounding makes the result
    the same on machines whose sums differ in the last bits.

    Args:
        module: network in eval mode; its batch norms' `running_var` are changed.
        size: side of its input, pixels.
    """

    def settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean_square = float(inputs[0].square().mean())
        if mean_square > 0 and isinstance(norm.running_var, Tensor):
            norm.running_var.fill_(2.0 ** round(math.log2(mean_square)))

    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(settle) for norm in norms]
    noise = np.random.default_rng(0).standard_normal((1, 3, size, size), dtype=np.float32)
    try:
        with torch.no_grad():
            module(torch.from_numpy(noise))
    finally:
        for handle in handles:
            handle.remove()


def random_weight(
    seed: str, shape: tuple[int, ...], kept: int, gain: float, block: int = 1
) -> NDArray[np.float32]:
    """Normal numbers of which the `kept` largest magnitudes remain, or the largest blocks.

    Scaled so that the squares of each filter's weights add up to `gain` on average: with
    zeros or without, an input of unit mean square gives outputs of mean square `gain`.

    Args:
        seed: text that stands for the stream of random numbers.
        shape: of the weight, outputs first.
        kept: number of non-zeros, 0..prod(shape).
        gain: 2 in front of a ReLU, which halves the mean square, else 1.
        block: consecutive input channels that stay or go together.

    Returns:
        float32 array of `shape`.
    """
    entropy = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "little")
    flat = np.random.default_rng(entropy).standard_normal(math.prod(shape), dtype=np.float32)
    # A draw of exactly zero happens (24 bits of mantissa) and would be a pruned weight.
    flat[flat == 0] = np.float32(2.0**-24)
    pruned = flat.size - kept
    if pruned > 0 and block > 1:
        magnitudes = torch.from_numpy(np.abs(flat).reshape(shape))
        flat *= keep_largest_blocks({"": magnitudes}, kept, block)[""].numpy().reshape(-1)
    elif pruned > 0:
        flat[np.argpartition(np.abs(flat), pruned - 1)[:pruned]] = 0
    squares = float(np.sum(np.square(flat, dtype=np.float64)))
    if squares > 0:
        flat *= np.float32(math.sqrt(gain * shape[0] / squares))
    return flat.reshape(shape)
