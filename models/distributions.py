"""How a network's zeros are shared out among its layers.

Every function maps the layers' weight shapes and an overall sparsity to the number of
kept weights in each layer; these numbers add up to exactly ``N - round(S * N)``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from sparsebench.models.errors import SparsebenchError

Shapes = Mapping[str, Sequence[int]]
"""Layer name -> weight shape: (out, in / groups, kh, kw) or (out, in), in network order."""


def uniform(shapes: Shapes, sparsity: float, dense: Collection[str] = ()) -> dict[str, int]:
    """The same sparsity in every layer but the `dense` ones.

    The others are slightly sparser than `sparsity`, so that the whole network has exactly
    that (ResNet-50 at 90 % with a dense first convolution: 90.03 % in each other layer).
    Where even their last weight would not do, the `dense` layers are pruned like the rest.

    Args:
        shapes: of the layers' weights.
        sparsity: overall share of zeros, 0..1.
        dense: names of layers to leave whole.

    Returns:
        Layer name -> number of kept weights.

    Raises:
        SparsebenchError: the sparsity lies outside 0..1.
    """
    keep = _kept_in_total(shapes, sparsity)
    sizes = _sizes(shapes)
    whole = sum(sizes[name] for name in dense)
    rest = sum(sizes.values()) - whole
    if rest <= 0 or keep < whole:
        dense, whole, rest = (), 0, sum(sizes.values())
    density = (keep - whole) / rest if rest else 0.0
    wanted = {n: size if n in dense else density * size for n, size in sizes.items()}
    return _round_to(wanted, sizes, keep)


def spared_layers(shapes: Shapes, sparsity: float) -> set[str]:
    """The layers that uniform and one-shot pruning leave whole: few weights, much harm.

    These are the first convolution (the "uniform, first layer dense" of the literature)
    and depthwise convolutions, whose filters have few weights each (dense in RigL's
    MobileNets; EfficientNet-Lite0 pruned to 50 % by global magnitude recognises 29 % of
    Imagenette with these layers whole and 6 % without). Where they would take more than
    two thirds of the weights that may stay, depthwise layers are pruned like the others,
    and if need be the first layer too.

    Args:
        shapes: of the layers' weights, in network order.
        sparsity: overall share of zeros, 0..1.
    """
    first = next(iter(shapes))
    depthwise = {n for n, s in shapes.items() if len(s) == 4 and s[1] == 1 and s[2] * s[3] > 1}
    budget = (1 - sparsity) * sum(_sizes(shapes).values()) * 2 / 3
    for spared in ({first} | depthwise, {first}):
        if sum(math.prod(shapes[name]) for name in spared) <= budget:
            return spared
    return set()


def erk(shapes: Shapes, sparsity: float) -> dict[str, int]:
    """Erdős-Rényi-Kernel: density in proportion to the sum over the product of the sides.

    Small layers stay dense, large ones become sparse. Layers whose density would exceed 1
    are kept whole and the others are scaled again, until none does. All layers take
    part, the first convolution and the classifier included (Evci et al., "Rigging the
    Lottery", 2020, as its authors' code computes it).

    Args:
        shapes: of the layers' weights.
        sparsity: overall share of zeros, 0..1.

    Returns:
        Layer name -> number of kept weights.

    Raises:
        SparsebenchError: the sparsity lies outside 0..1.
    """
    keep = _kept_in_total(shapes, sparsity)
    sizes = _sizes(shapes)
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    whole: set[str] = set()
    while True:
        sparse = [name for name in shapes if name not in whole]
        budget = keep - sum(sizes[name] for name in whole)
        scale = budget / sum(raw[name] * sizes[name] for name in sparse) if sparse else 0.0
        too_dense = {name for name in sparse if scale * raw[name] > 1}
        if not too_dense:
            break
        # RigL's code fixes only the layers at the highest density in each round.
        highest = max(raw[name] for name in too_dense)
        whole |= {name for name in too_dense if raw[name] == highest}
    wanted = {n: size if n in whole else scale * raw[n] * size for n, size in sizes.items()}
    return _round_to(wanted, sizes, keep)


def global_threshold(
    shapes: Shapes, sparsity: float, scales: Mapping[str, float]
) -> dict[str, int]:
    """What one magnitude threshold over all layers leaves of normally distributed weights.

    Args:
        shapes: of the layers' weights.
        sparsity: overall share of zeros, 0..1.
        scales: layer name -> standard deviation of its weights.

    Returns:
        Layer name -> expected number of kept weights, rounded to the exact total.

    Raises:
        SparsebenchError: the sparsity lies outside 0..1.
    """
    keep = _kept_in_total(shapes, sparsity)
    sizes = _sizes(shapes)
    low, high = 0.0, 40.0 * max(scales.values())
    for _ in range(200):
        threshold = (low + high) / 2
        if sum(_above(threshold, scales[n]) * size for n, size in sizes.items()) > keep:
            low = threshold
        else:
            high = threshold
    wanted = {n: _above(low, scales[n]) * size for n, size in sizes.items()}
    return _round_to(wanted, sizes, keep)


def _above(threshold: float, scale: float) -> float:
    """Share of normal values of this standard deviation beyond plus or minus threshold."""
    return math.erfc(threshold / (scale * math.sqrt(2)))


def _kept_in_total(shapes: Shapes, sparsity: float) -> int:
    if not 0 <= sparsity <= 1:
        raise SparsebenchError(
            f"A sparsity of {sparsity:g} lies outside 0 to 1.", "Give the share of zeros."
        )
    total = sum(_sizes(shapes).values())
    return total - round(sparsity * total)


def _sizes(shapes: Shapes) -> dict[str, int]:
    return {name: math.prod(shape) for name, shape in shapes.items()}


def _round_to(wanted: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers near `wanted` within 0..size that add up to `total`.

    Largest remainders first; what is still over goes wherever there is room.
    """
    kept = {name: min(max(math.floor(w), 0), sizes[name]) for name, w in wanted.items()}
    by_remainder = sorted(wanted, key=lambda name: kept[name] - wanted[name])
    while (over := total - sum(kept.values())) != 0:
        step = 1 if over > 0 else -1
        movable = [n for n in by_remainder if 0 <= kept[n] + step <= sizes[n]]
        for name in movable[: abs(over)]:
            kept[name] += step
    return kept
