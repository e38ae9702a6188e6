"""One-shot magnitude pruning: a trained dense backbone without its smallest weights.

Nothing is retrained, so accuracy falls quickly with sparsity; these backbones cost no
training and have known accuracy at moderate sparsity. Importing this module loads no
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import (
    PATTERN_SPARSITY,
    BackboneName,
    format_percent,
    has_pattern,
    split_block,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsebench.models.found import Found
    from sparsebench.models.masks import Mask


def prune_found(name: BackboneName, dense: Found) -> Found:
    """The one-shot pruning of a dense backbone: its card, and how it is made.

    Args:
        name: asked for; its method is a key of :data:`ONE_SHOT_METHODS`.
        dense: the backbone to prune, of the same architecture and source.
    """
    from sparsebench.models.found import Found

    pattern = has_pattern(name.method)
    if pattern:
        _check_pattern(name)
    base, block = split_block(name.method)
    together = f", {block} input channels together" if block > 1 else ""
    if pattern:
        together = " (two of every four inputs are kept: 2:4)"
    card = replace(
        dense.card,
        name=str(name),
        method=name.method,
        family="one-shot",
        sparsity=name.sparsity,
        sha256=None,
        upstream_accuracy=None,
        upstream_data=None,
        dense_partner=dense.card.name,
        notes=f"'{dense.card.name}' without the {format_percent(name.sparsity)} % of its weights "
        f"that are smallest{together}, not retrained; the first and the depthwise convolutions "
        "stay whole." + ("" if dense.card.trained else " Random weights."),
    )

    def load() -> nn.Module:
        from sparsebench.models.masks import apply_mask

        module = dense.load()
        made = pattern_magnitude if pattern else ONE_SHOT_METHODS[base]
        apply_mask(module, made(module, name.sparsity, block))
        return module

    return Found(card, load, said=dense.said)


def _check_pattern(name: BackboneName) -> None:
    """Say which one-shot networks of the pattern 2:4 there are.

    Raises:
        SparsebenchError: not this one.
    """
    wanted = replace(name, method="magnitude_2of4", sparsity=PATTERN_SPARSITY)
    if (name.method, name.sparsity) != (wanted.method, wanted.sparsity):
        raise SparsebenchError(
            f"'{name}': the pattern 2:4 keeps half of the weights, layer by layer.",
            f"Take {wanted}.",
        )


def pattern_magnitude(module: nn.Module, sparsity: float, block: int = 1) -> Mask:
    """Keep the two largest of every four inputs, see :mod:`sparsebench.models.patterns`.

    Args:
        module: any network with Conv2d and Linear layers.
        sparsity: 0.5, which the pattern has.
        block: 1.
    """
    from sparsebench.models.masks import freeze_mask
    from sparsebench.models.patterns import two_of_four_masks

    weights, _, _ = _weights_to_prune(module, sparsity)
    return freeze_mask(two_of_four_masks(weights))


def global_magnitude(module: nn.Module, sparsity: float, block: int = 1) -> Mask:
    """Keep the largest magnitudes of the network, but for the spared layers.

    Zeros over all prunable weights number exactly round(S * N), unless the network has
    more of them already, or they come in blocks, which leave up to a block more.

    Args:
        module: any network with Conv2d and Linear layers.
        sparsity: share of zeros over all prunable weights, 0..1.
        block: input channels that are removed together (``models/blocks.py``).
    """
    import torch

    from sparsebench.models.masks import freeze_mask

    weights, spared, pruned = _weights_to_prune(module, sparsity)
    free = {name: weight for name, weight in weights.items() if name not in spared}
    if block > 1:
        total = sum(weight.numel() for weight in free.values())
        return _in_blocks(weights, [(free, max(total - pruned, 0))], block)
    kept = _without_smallest(torch.cat([w.abs().reshape(-1) for w in free.values()]), pruned)
    mask, start = {name: weights[name] != 0 for name in weights}, 0
    for name, weight in free.items():
        mask[name] = kept[start : start + weight.numel()].reshape(weight.shape)
        start += weight.numel()
    return freeze_mask(mask)


def uniform_magnitude(module: nn.Module, sparsity: float, block: int = 1) -> Mask:
    """Keep the largest magnitudes of each layer, all but the spared ones equally sparse.

    Zeros over all prunable weights number exactly round(S * N), unless the network has
    more of them already, or they come in blocks, which leave up to a block more.

    Args:
        module: any network with Conv2d and Linear layers.
        sparsity: share of zeros over all prunable weights, 0..1.
        block: input channels that are removed together (``models/blocks.py``).
    """
    from sparsebench.models.distributions import uniform
    from sparsebench.models.masks import freeze_mask

    weights, spared, pruned = _weights_to_prune(module, sparsity)
    total = sum(weight.numel() for weight in weights.values())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    counts = uniform(shapes, pruned / total if total else 0.0, spared)
    if block > 1:
        free = {name: weight for name, weight in weights.items() if name not in spared}
        return _in_blocks(weights, [({n: w}, counts[n]) for n, w in free.items()], block)
    mask = {}
    for name, weight in weights.items():
        flat = weight.abs().reshape(-1)
        kept = _without_smallest(flat, flat.numel() - counts[name])
        mask[name] = kept.reshape(weight.shape)
    return freeze_mask(mask)


def _weights_to_prune(
    module: nn.Module, sparsity: float
) -> tuple[dict[str, Tensor], set[str], int]:
    """All weights, the names of the spared ones, and how many others to set to zero."""
    import torch

    from sparsebench.models.architectures import prunable_layers
    from sparsebench.models.distributions import spared_layers

    weights = {f"{n}.weight": m.weight.detach() for n, m in prunable_layers(module).items()}
    spared = spared_layers({n: tuple(w.shape) for n, w in weights.items()}, sparsity)
    total = sum(weight.numel() for weight in weights.values())
    zeros = sum(weights[n].numel() - int(torch.count_nonzero(weights[n])) for n in spared)
    return weights, spared, max(round(sparsity * total) - zeros, 0)


def _in_blocks(
    weights: dict[str, Tensor], groups: list[tuple[dict[str, Tensor], int]], block: int
) -> Mask:
    """The largest blocks of each group (its weights, how many to keep); all else stays whole."""
    from sparsebench.models.blocks import keep_largest_blocks
    from sparsebench.models.masks import freeze_mask

    mask = {name: weight != 0 for name, weight in weights.items()}
    for group, kept in groups:
        scores = {name: weight.abs() for name, weight in group.items()}
        for name, flags in keep_largest_blocks(scores, kept, block).items():
            mask[name] &= flags
    return freeze_mask(mask)


def _without_smallest(scores: Tensor, pruned: int) -> Tensor:
    """Bool tensor [N] that is False at the `pruned` smallest scores [N] and at zeros.

    Of equal scores the first are pruned, so that the mask is the same everywhere.
    """
    import torch

    kept = scores != 0
    if pruned > 0:
        threshold = torch.kthvalue(scores, pruned).values
        below = scores < threshold
        kept &= ~below
        equal = (scores == threshold).nonzero().reshape(-1)
        kept[equal[: pruned - int(below.sum())]] = False
    return kept


ONE_SHOT_METHODS: Mapping[str, Callable[..., Mask]] = {
    "magnitude": global_magnitude,
    "magnitude_uniform": uniform_magnitude,
}
