"""Which weights are largest: the score that most methods share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsebench.models.blocks import keep_largest_blocks
from sparsebench.models.distributions import spared_layers, uniform


@torch.no_grad()
def global_magnitude_masks(
    weights: Mapping[str, Tensor],
    sparsity: float,
    within: Mapping[str, Tensor] | None = None,
    block: int = 1,
) -> dict[str, Tensor]:
    """Keep the largest absolute weights of all tensors ranked together.

    Exactly ``round((1 - sparsity) * N)`` of the N weights are kept, ties included, or all that
    ``within`` keeps where those are fewer; in blocks, fewer by less than a block.

    Args:
        weights: name -> weight, any shape.
        sparsity: share to remove, 0 to 1.
        within: masks whose removed weights never return.
        block: input channels that are kept or removed together (``models/blocks.py``).

    Returns:
        Name -> bool tensor of the weight's shape, True = kept.
    """
    return global_masks({n: w.detach().abs() for n, w in weights.items()}, sparsity, within, block)


@torch.no_grad()
def global_masks(
    scores: Mapping[str, Tensor],
    sparsity: float,
    within: Mapping[str, Tensor] | None = None,
    block: int = 1,
) -> dict[str, Tensor]:
    """As :func:`global_magnitude_masks`, by any score of 0 or more."""
    if block > 1:
        total = sum(score.numel() for score in scores.values())
        return keep_largest_blocks(scores, round((1.0 - sparsity) * total), block, within)
    parts = []
    for name, tensor in scores.items():
        score = tensor.flatten()
        if within:
            score = score.masked_fill(~within[name].flatten(), -1.0)
        parts.append(score)
    ranked = torch.cat(parts)
    kept = round((1.0 - sparsity) * ranked.numel())
    flat = torch.zeros(ranked.numel(), dtype=torch.bool, device=ranked.device)
    flat[torch.topk(ranked, kept, sorted=False).indices] = True
    flat &= ranked >= 0
    split = torch.split(flat, [s.numel() for s in scores.values()])
    return {n: p.view_as(s).clone() for (n, s), p in zip(scores.items(), split, strict=True)}


@torch.no_grad()
def uniform_magnitude_masks(
    weights: Mapping[str, Tensor],
    sparsity: float,
    within: Mapping[str, Tensor] | None = None,
    *,
    final: float | None = None,
    block: int = 1,
) -> dict[str, Tensor]:
    """Keep the largest absolute weights of each tensor, the same share of every one.

    The first tensor (and depthwise convolutions) are left whole, see
    :func:`models.distributions.spared_layers`; the others are as much sparser as gives the
    whole network the sparsity, to the weight.

    Args:
        weights: name -> weight, in network order.
        sparsity: share to remove of all weights together, 0 to 1.
        within: masks whose removed weights never return.
        final: the sparsity that decides which tensors are left whole, where this one is a
            step on the way there.
        block: input channels that are kept or removed together; each tensor then keeps fewer
            weights than its share by less than a block.

    Returns:
        Name -> bool tensor of the weight's shape, True = kept.
    """
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    spared = spared_layers(shapes, sparsity if final is None else final)
    budget = uniform(shapes, sparsity, spared)
    masks: dict[str, Tensor] = {}
    for name, weight in weights.items():
        size = weight.numel()
        inside = None if within is None or name not in within else {name: within[name]}
        masks |= global_magnitude_masks({name: weight}, 1 - budget[name] / size, inside, block)
    return masks
